#include "digest.h"
#include "file.h"
#include "segment.h"
#include "tensorflow_restore.h"
