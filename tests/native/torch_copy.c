/* A library with a libtorch of its own inside, as far as that is seen. */
static char own;
void *_ZN2at6detail22getDefaultCPUGeneratorEv(void);
void *_ZN2at6detail22getDefaultCPUGeneratorEv(void) { return &own; }
int is_own(void);
int is_own(void) { return _ZN2at6detail22getDefaultCPUGeneratorEv() == &own; }
