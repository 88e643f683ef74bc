// Whether the system has futex_waitv. QEMU has its own list of system calls, so the kernel's version does not tell.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void) {
  long result = syscall(449, NULL, 0, 0, NULL, 0);
  printf("%s\n", result == -1 && errno == ENOSYS ? "missing" : "there");
  return 0;
}
