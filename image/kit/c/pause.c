/*
 * pause: the process that holds the namespaces of a pod.
 *
 * It is process 1 of the pod when namespaces are shared, so it reaps what others leave behind, and
 * it ends when asked to. All signals are blocked and taken one by one: no handler, no race.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

int main(int argc, char **argv) {
  sigset_t set;
  int received;

  if (argc == 2 && strcmp(argv[1], "-v") == 0) {
    puts("pause.c corten");
    return 0;
  }
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, NULL);
  for (;;) {
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    if (sigwait(&set, &received) == 0 && received != SIGCHLD) {
      return 0;
    }
  }
}
