/* A library that asks torch for its default generator, as an extension in C++ does: by a word of its own. */
extern void *_ZN2at6detail22getDefaultCPUGeneratorEv(void);
void *default_generator(void) { return _ZN2at6detail22getDefaultCPUGeneratorEv(); }
