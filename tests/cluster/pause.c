/* The process that does nothing: the first of a pod, and the first (PID 1) of a local node.
 * It buries the orphans of its PID namespace and leaves when it is told to. */
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>

int main(void) {
	sigset_t awaited;
	sigemptyset(&awaited);
	sigaddset(&awaited, SIGCHLD);
	sigaddset(&awaited, SIGINT);
	sigaddset(&awaited, SIGTERM);
	sigprocmask(SIG_BLOCK, &awaited, NULL);
	for (int signal = 0; signal != SIGINT && signal != SIGTERM; sigwait(&awaited, &signal)) {
		while (waitpid(-1, NULL, WNOHANG) > 0) {
		}
	}
	return 0;
}
