-- Jobs to do, a receipt for each that was done, and the numbers of receipts, which are taken in blocks.
CREATE TABLE job (id integer PRIMARY KEY, item text NOT NULL, node text);
CREATE TABLE receipt (number integer NOT NULL, job integer NOT NULL, node text NOT NULL, result text NOT NULL);
CREATE TABLE numbers (next integer NOT NULL);
INSERT INTO numbers VALUES (1);
