/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What seccomp.rs has its containers and its listeners do: system calls by name, and answers to them.
 *
 *   calls CALL[:ARG...]...        does each in a process of its own and prints what came of it, a line each;
 *                                 "nr:NUMBER" and, on x86_64, "x86:NUMBER" are calls by their number
 *   listen PATH ERRNO NAME...     listens at PATH; prints each message and answers all that it is asked: the calls
 *                                 named with this errno, others with "go on"
 *   hang-up PATH                  takes one message, prints it, and ends
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
	const char *name;
	long number;
} CALLS[] = {
#define CALL(NAME) { #NAME, SYS_##NAME }
	CALL(acct), CALL(add_key), CALL(bpf), CALL(capset), CALL(chdir), CALL(chroot), CALL(clock_settime), CALL(clone3),
	CALL(close), CALL(delete_module), CALL(fchdir), CALL(fsopen), CALL(getcwd), CALL(getpgid), CALL(getpid),
	CALL(getppid), CALL(getpriority), CALL(getsid), CALL(getuid), CALL(init_module), CALL(ioctl),
	CALL(kexec_load), CALL(keyctl), CALL(mkdirat), CALL(mount), CALL(move_pages), CALL(name_to_handle_at),
	CALL(open_by_handle_at), CALL(open_tree), CALL(openat), CALL(perf_event_open), CALL(personality),
	CALL(pidfd_open), CALL(pivot_root), CALL(process_vm_readv), CALL(ptrace), CALL(quotactl), CALL(read),
	CALL(recvmsg), CALL(request_key), CALL(sched_yield), CALL(sendmsg), CALL(set_mempolicy), CALL(setns),
	CALL(settimeofday), CALL(setuid), CALL(socket), CALL(statx), CALL(swapon), CALL(syslog), CALL(umount2),
	CALL(unshare), CALL(userfaultfd), CALL(write),
#ifdef SYS_iopl
	CALL(iopl), CALL(ioperm), CALL(modify_ldt),
#endif
};

static long number_of(const char *name)
{
	for (size_t n = 0; n < sizeof CALLS / sizeof *CALLS; n++)
		if (!strcmp(CALLS[n].name, name))
			return CALLS[n].number;
	fprintf(stderr, "no call %s\n", name);
	exit(2);
}

static void trapped(int signal)
{
	(void)signal;
	_exit(201);
}

/* The errno of a call, or 0. */
static int call(char *text)
{
	unsigned long long args[6] = { 0 };
	char *rest = text;
	char *name = strsep(&rest, ":");
	long number, result;
	int by_x86 = !strcmp(name, "x86");

	if (by_x86 || !strcmp(name, "nr"))
		number = strtol(strsep(&rest, ":"), NULL, 0);
	else
		number = number_of(name);
	for (int n = 0; n < 6 && rest; n++)
		args[n] = strtoull(strsep(&rest, ":"), NULL, 0);
	if (by_x86) {
#ifdef __x86_64__
		__asm__ volatile("int $0x80"
				 : "=a"(result)
				 : "a"(number), "b"(args[0]), "c"(args[1]), "d"(args[2])
				 : "memory", "r8", "r9", "r10", "r11");
		result = (int)result;
		return result < 0 && result > -4096 ? -result : 0;
#else
		return ENOSYS;
#endif
	}
	errno = 0;
	result = syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
	return result == -1 ? errno : 0;
}

static int calls(char **list)
{
	for (; *list; list++) {
		int status;
		char *name = strdup(*list);
		pid_t child = fork();
		if (child < 0)
			return 1;
		if (!child) {
			signal(SIGSYS, trapped);
			_exit(call(*list));
		}
		waitpid(child, &status, 0);
		if (WIFSIGNALED(status))
			printf("%s killed %d\n", name, WTERMSIG(status));
		else if (WEXITSTATUS(status) == 201)
			printf("%s trapped\n", name);
		else if (WEXITSTATUS(status))
			printf("%s errno %d\n", name, WEXITSTATUS(status));
		else
			printf("%s ok\n", name);
		fflush(stdout);
	}
	return 0;
}

static int listening(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 8)) {
		perror(path);
		exit(1);
	}
	return listener;
}

/* Takes a message, prints it, and gives the descriptor that came with it. */
static int take(int listener)
{
	static char text[1 << 16];
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec data = { text, sizeof text - 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof control };
	int fd = -1;
	int connection = accept(listener, NULL, NULL);
	ssize_t length = recvmsg(connection, &message, 0);
	if (length < 0)
		return -1;
	struct cmsghdr *first = CMSG_FIRSTHDR(&message);
	if (first && first->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(first), sizeof fd);
	text[length] = 0;
	printf("%s\n", text);
	fflush(stdout);
	close(connection);
	return fd;
}

static void answer(int fd, int error, char **names)
{
	struct seccomp_notif question = { 0 };
	struct seccomp_notif_resp answer = { 0 };

	if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &question))
		return;
	answer.id = question.id;
	answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	for (; *names; names++)
		if (question.data.nr == number_of(*names)) {
			answer.flags = 0;
			answer.error = -error;
		}
	ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

static int serve(const char *path, int error, char **names)
{
	struct pollfd fds[32] = { { .fd = listening(path), .events = POLLIN } };
	int count = 1;

	for (;;) {
		if (poll(fds, count, -1) < 0)
			return 1;
		for (int n = count - 1; n > 0; n--) {
			if (fds[n].revents & POLLIN)
				answer(fds[n].fd, error, names);
			else if (fds[n].revents) {
				close(fds[n].fd);
				fds[n] = fds[--count];
			}
		}
		if (fds[0].revents && count < 32) {
			int fd = take(fds[0].fd);
			if (fd >= 0)
				fds[count++] = (struct pollfd){ .fd = fd, .events = POLLIN };
		}
	}
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "calls"))
		return calls(argv + 2);
	if (argc > 3 && !strcmp(argv[1], "listen"))
		return serve(argv[2], atoi(argv[3]), argv + 4);
	if (argc == 3 && !strcmp(argv[1], "hang-up"))
		return take(listening(argv[2])) < 0;
	return 2;
}
