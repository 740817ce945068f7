/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers differential.rs about libseccomp, line by line:
 *
 *   number ARCH NAME            the number of a call, or "none"
 *   same NAME                   whether the number that stands for a call on this machine stands for no other
 *   begin DEFAULT ARCH...       a filter for these architectures and no others
 *   rule ACTION NAME [ARG OP A B]...
 *   end                         its program in hexadecimal, or "error WHAT NAME CODE", then the microseconds it took
 */
#define _GNU_SOURCE
#include <errno.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

int main(void)
{
	static char line[1 << 20];
	static char failed[256];
	scmp_filter_ctx filter = NULL;
	double took = 0;
	int rules = 0;

	while (fgets(line, sizeof line, stdin)) {
		char *word = strtok(line, " \n");
		if (!word)
			continue;
		double began = now();
		if (!strcmp(word, "number")) {
			uint32_t arch = seccomp_arch_resolve_name(strtok(NULL, " \n"));
			int number = seccomp_syscall_resolve_name_arch(arch, strtok(NULL, " \n"));
			/* An architecture that it does not know is 0, which stands for the machine's own. */
			if (!arch || number < 0)
				puts("none");
			else
				printf("%d\n", number);
		} else if (!strcmp(word, "same")) {
			word = strtok(NULL, " \n");
			int number = seccomp_syscall_resolve_name(word);
			char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
			puts(number != __NR_SCMP_ERROR && name && !strcmp(name, word) ? "yes" : "no");
			free(name);
		} else if (!strcmp(word, "begin")) {
			took = 0;
			failed[0] = 0;
			rules = 0;
			if (filter)
				seccomp_release(filter);
			filter = seccomp_init(strtoul(strtok(NULL, " \n"), NULL, 0));
			if (!filter) {
				snprintf(failed, sizeof failed, "init - 0");
				continue;
			}
			int native = 0, first = 1;
			while ((word = strtok(NULL, " \n"))) {
				uint32_t arch = seccomp_arch_resolve_name(word);
				native |= arch == seccomp_arch_native();
				/* The machine's own goes first, as it decides about the byte order. */
				if (first && arch != seccomp_arch_native())
					seccomp_arch_remove(filter, SCMP_ARCH_NATIVE);
				first = 0;
				int code = seccomp_arch_add(filter, arch);
				if (code && code != -EEXIST)
					snprintf(failed, sizeof failed, "arch %s %d", word, code);
			}
			seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0);
		} else if (!strcmp(word, "rule")) {
			struct scmp_arg_cmp args[6];
			unsigned count = 0;
			uint32_t action = strtoul(strtok(NULL, " \n"), NULL, 0);
			char *name = strtok(NULL, " \n");
			while (count < 6 && (word = strtok(NULL, " \n"))) {
				args[count].arg = strtoul(word, NULL, 0);
				args[count].op = strtoul(strtok(NULL, " \n"), NULL, 0);
				args[count].datum_a = strtoull(strtok(NULL, " \n"), NULL, 0);
				args[count].datum_b = strtoull(strtok(NULL, " \n"), NULL, 0);
				count++;
			}
			int number = seccomp_syscall_resolve_name(name);
			if (number == __NR_SCMP_ERROR || failed[0])
				continue;
			/*
			 * As runc does for many rules. For few, the list that it has then may lose the load of the number, when
			 * its first call is one that the architecture does not have.
			 */
			if (++rules == 1)
				seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
			int code = seccomp_rule_add_array(filter, action, number, count, args);
			if (code)
				snprintf(failed, sizeof failed, "rule %s %d", name, code);
			took += now() - began;
		} else if (!strcmp(word, "end")) {
			int fd = memfd_create("program", 0);
			int code = failed[0] ? 0 : seccomp_export_bpf(filter, fd);
			took += now() - began;
			if (code)
				snprintf(failed, sizeof failed, "export - %d", code);
			if (failed[0]) {
				printf("error %s %.1f\n", failed, took);
			} else {
				unsigned char byte;
				lseek(fd, 0, SEEK_SET);
				FILE *program = fdopen(dup(fd), "r");
				while (fread(&byte, 1, 1, program) == 1)
					printf("%02x", byte);
				printf(" %.1f\n", took);
				fclose(program);
			}
			close(fd);
		}
		fflush(stdout);
	}
	return 0;
}
