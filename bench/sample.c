/*
 * sample: runs one command and prints what it cost.
 *
 *   sample [--fifo] [--timeout SECONDS] [--user ID] COMMAND [ARGUMENT]...
 *
 * Prints one line: wall clock in nanoseconds, user and system CPU time of the
 * command and all it waited for in microseconds, their greatest peak resident
 * size in kB, and the exit status (128 + N if signal N ended it).
 *
 * Why this is not done by the benchmark itself: Linux counts the peak resident
 * size of the process that calls exec to what is executed. So the caller must be
 * smaller than whatever it measures, and be linked statically.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static pid_t command;

static void kill_command(int signal)
{
	(void)signal;
	kill(command, SIGKILL);
}

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long microseconds(struct timeval t)
{
	return t.tv_sec * 1000000LL + t.tv_usec;
}

static int fail(const char *what, int error)
{
	fprintf(stderr, "sample: %s: %s\n", what, strerror(error));
	return 1;
}

int main(int argc, char **argv)
{
	unsigned timeout = 0;
	int first = 1;
	for (; first < argc && argv[first][0] == '-'; first++) {
		struct sched_param lowest = {.sched_priority = 1};
		if (!strcmp(argv[first], "--fifo")) {
			if (sched_setscheduler(0, SCHED_FIFO, &lowest) < 0)
				return fail("SCHED_FIFO", errno);
		} else if (!strcmp(argv[first], "--timeout") && first + 1 < argc) {
			timeout = (unsigned)atoi(argv[++first]);
		} else if (!strcmp(argv[first], "--user") && first + 1 < argc) {
			uid_t user = (uid_t)atoi(argv[++first]);
			if (setgroups(0, NULL) < 0 || setresgid(user, user, user) < 0 ||
			    setresuid(user, user, user) < 0)
				return fail("--user", errno);
		} else {
			return fail(argv[first], EINVAL);
		}
	}
	if (first >= argc)
		return fail("no command", EINVAL);

	posix_spawn_file_actions_t quiet;
	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);

	long long start = now();
	int error = posix_spawnp(&command, argv[first], &quiet, NULL, argv + first, environ);
	if (error)
		return fail(argv[first], error);
	signal(SIGALRM, kill_command);
	alarm(timeout);
	int status;
	struct rusage used;
	while (wait4(command, &status, 0, &used) < 0)
		if (errno != EINTR)
			return fail("wait4", errno);
	long long end = now();

	printf("%lld %lld %ld %d\n", end - start,
	       microseconds(used.ru_utime) + microseconds(used.ru_stime), used.ru_maxrss,
	       WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	return 0;
}
