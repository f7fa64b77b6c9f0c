#include "segment.h"
int main(void) { return 0; }
