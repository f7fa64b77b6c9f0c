#include "digest.h"
#include "segment.h"
