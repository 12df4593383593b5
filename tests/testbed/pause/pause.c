/* The sandbox process of every pod: holds the namespaces, leaves on SIGTERM. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static void leave(int signal_number) {
  (void)signal_number;
  exit(0);
}

int main(void) {
  signal(SIGTERM, leave);
  signal(SIGINT, leave);
  for (;;) pause();
}
