/*
 * floor: the least that the kernel takes for `run true`.
 *
 *   floor [--root DIR] [--cgroup-namespace] [--memory BYTES] run --bundle DIR ID
 *   floor --version
 *
 * Makes the system calls that a container of bench/bundles/plain, or with
 * --cgroup-namespace of plain-cgns, cannot do without, all hard-coded: it parses
 * nothing, checks nothing and reports nothing. What a runtime needs beyond it is
 * the runtime's own. The command line is that of a runtime, so that both are
 * measured in the same way; the root file system is DIR/rootfs.
 *
 * Every step is done in the cheapest way that is known:
 *   - version 2 control group: the child is cloned into it (CLONE_INTO_CGROUP);
 *   - version 1: the child, still one thread, writes "0" to `tasks`: a process id
 *     written by another process waits for an RCU grace period;
 *   - what the child mounts and what the host writes overlaps on two processors.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(call) ((call) < 0 ? fail(#call) : (void)0)
#define LENGTH(array) (sizeof(array) / sizeof *(array))

static void fail(const char *call)
{
	dprintf(STDERR_FILENO, "floor: %s: %m\n", call);
	_exit(1);
}

/* The arguments. */
static const char *state_root = "/run/tare-bench/floor", *bundle, *id, *memory;
static int cgroup_namespace;

/* The control groups: where they are, and what the child needs of them. */
#define MOUNT "/sys/fs/cgroup"
#define PARENT "tare-bench"
static const char *const hierarchies[] = {"systemd", "pids", "blkio", "freezer", "devices",
					  "memory", "cpuset", "cpuacct", "cpu"};
static int version2;
static int group = -1;			/* version 2: the directory */
static int tasks[LENGTH(hierarchies)];	/* version 1: the files; -1: no such hierarchy */

static void put(int directory, const char *file, const char *text)
{
	int fd = openat(directory, file, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail(file);
	close(fd);
}

/* ------------------------------------------------------ host: control groups */

static void attach_device_filter(void)
{
	/* r0 = 1; exit: the shortest program there is, as if all were allowed. */
	struct bpf_insn program[] = {{.code = 0xb7, .imm = 1}, {.code = 0x95}};
	union bpf_attr load = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
			       .insn_cnt = LENGTH(program),
			       .insns = (uintptr_t)program,
			       .license = (uintptr_t) "GPL"};
	int fd;
	CHECK(fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load));
	union bpf_attr attach = {.target_fd = (uint32_t)group,
				 .attach_bpf_fd = (uint32_t)fd,
				 .attach_type = BPF_CGROUP_DEVICE,
				 .attach_flags = BPF_F_ALLOW_MULTI};
	CHECK(syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach));
	close(fd);
}

static void make_version2_group(void)
{
	char path[300];
	snprintf(path, sizeof path, MOUNT "/" PARENT "/%s", id);
	mkdir(MOUNT "/" PARENT, 0755);
	CHECK(mkdir(path, 0755));
	CHECK(group = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (memory)
		put(group, "memory.max", memory);
	attach_device_filter();
}

/* A new cpuset is empty, and no process may join an empty one. */
static void fill_cpuset(int from, int into)
{
	static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
	for (size_t i = 0; i < LENGTH(files); i++) {
		char text[4096];
		int fd = openat(from, files[i], O_RDONLY | O_CLOEXEC);
		ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
		CHECK(length);
		close(fd);
		text[length] = 0;
		put(into, files[i], text);
	}
}

static void write_version1_group(const char *hierarchy, int top, int parent, int directory, int first)
{
	static const char *const allowed[] = {
		"c *:* m",   "b *:* m",	  "c 1:3 rwm", "c 1:8 rwm",   "c 1:7 rwm", "c 5:0 rwm",
		"c 1:5 rwm", "c 1:9 rwm", "c 5:1 rwm", "c 136:* rwm", "c 5:2 rwm", "c 10:200 rwm"};
	if (!strcmp(hierarchy, "memory") && memory)
		put(directory, "memory.limit_in_bytes", memory);
	if (!strcmp(hierarchy, "cpuset")) {
		if (first)
			fill_cpuset(top, parent);
		fill_cpuset(parent, directory);
	}
	if (!strcmp(hierarchy, "devices")) {
		put(directory, "devices.deny", "a");
		for (size_t i = 0; i < LENGTH(allowed); i++)
			put(directory, "devices.allow", allowed[i]);
	}
}

static void make_version1_groups(void)
{
	for (size_t i = 0; i < LENGTH(hierarchies); i++) {
		char path[100];
		snprintf(path, sizeof path, MOUNT "/%s", hierarchies[i]);
		tasks[i] = -1;
		int top = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), parent, directory;
		if (top < 0)
			continue;
		int first = mkdirat(top, PARENT, 0755) == 0;
		CHECK(parent = openat(top, PARENT, O_PATH | O_DIRECTORY | O_CLOEXEC));
		/* "cpu" and "cpuacct" may be two names of one hierarchy. */
		if (mkdirat(parent, id, 0755) < 0 && errno != EEXIST)
			fail(path);
		CHECK(directory = openat(parent, id, O_PATH | O_DIRECTORY | O_CLOEXEC));
		write_version1_group(hierarchies[i], top, parent, directory, first);
		CHECK(tasks[i] = openat(directory, "tasks", O_WRONLY | O_CLOEXEC));
		close(directory);
		close(parent);
		close(top);
	}
}

static void remove_groups(void)
{
	char path[300];
	snprintf(path, sizeof path, MOUNT "/" PARENT "/%s", id);
	if (version2)
		CHECK(rmdir(path));
	for (size_t i = 0; !version2 && i < LENGTH(hierarchies); i++) {
		snprintf(path, sizeof path, MOUNT "/%s/" PARENT "/%s", hierarchies[i], id);
		if (tasks[i] >= 0 && rmdir(path) < 0 && errno != ENOENT)
			fail(path);
	}
}

/* ------------------------------------------------------ host: state directory */

static void write_state(void)
{
	char path[300], temporary[310];
	static const char text[] = "{\"pid\":1}";
	snprintf(path, sizeof path, "%s/%s/state.json", state_root, id);
	snprintf(temporary, sizeof temporary, "%s.new", path);
	int fd;
	CHECK(fd = open(temporary, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	CHECK(write(fd, text, strlen(text)));
	close(fd);
	CHECK(rename(temporary, path));
}

static void remove_state(void)
{
	char path[300];
	snprintf(path, sizeof path, "%s/%s/state.json", state_root, id);
	CHECK(unlink(path));
	*strrchr(path, '/') = 0;
	CHECK(rmdir(path));
}

/* ------------------------------------------------------ child: the container */

static void join_groups(void)
{
	for (size_t i = 0; !version2 && i < LENGTH(hierarchies); i++)
		if (tasks[i] >= 0)
			CHECK(write(tasks[i], "0", 1));
	if (cgroup_namespace)
		CHECK(unshare(CLONE_NEWCGROUP));
}

static void raise_loopback(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd;
	CHECK(fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	CHECK(ioctl(fd, SIOCSIFFLAGS, &request));
	close(fd);
}

#define HARMLESS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

static void bind_read_only(const char *source, const char *target)
{
	CHECK(mount(source, target, NULL, MS_BIND | MS_REC, NULL));
	CHECK(mount(NULL, target, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | HARMLESS, NULL));
}

static void mount_groups(void)
{
	char path[300], target[60];
	const char *top = "sys/fs/cgroup";
	if (version2 && cgroup_namespace) {
		CHECK(mount("cgroup", top, "cgroup2", MS_RDONLY | HARMLESS, NULL));
	} else if (version2) {
		snprintf(path, sizeof path, MOUNT "/" PARENT "/%s", id);
		bind_read_only(path, top);
	} else {
		CHECK(mount("cgroup", top, "tmpfs", HARMLESS, "mode=755,size=1024k"));
		for (size_t i = 0; i < LENGTH(hierarchies); i++) {
			if (tasks[i] < 0)
				continue;
			snprintf(path, sizeof path, MOUNT "/%s/" PARENT "/%s", hierarchies[i], id);
			snprintf(target, sizeof target, "%s/%s", top, hierarchies[i]);
			CHECK(mkdir(target, 0755));
			bind_read_only(path, target);
		}
		CHECK(mount(NULL, top, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | HARMLESS, NULL));
	}
}

static void mount_all(void)
{
	CHECK(mount("proc", "proc", "proc", 0, NULL));
	CHECK(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
	CHECK(mkdir("dev/pts", 0755));
	CHECK(mkdir("dev/shm", 0755));
	CHECK(mkdir("dev/mqueue", 0755));
	CHECK(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
		    "newinstance,ptmxmode=0666,mode=0620,gid=5"));
	CHECK(mount("shm", "dev/shm", "tmpfs", HARMLESS, "mode=1777,size=65536k"));
	CHECK(mount("mqueue", "dev/mqueue", "mqueue", HARMLESS, NULL));
	CHECK(mount("sysfs", "sys", "sysfs", HARMLESS | MS_RDONLY, NULL));
	mount_groups();
}

static void make_devices(void)
{
	static const struct { const char *path; unsigned major, minor; } nodes[] = {
		{"dev/null", 1, 3}, {"dev/zero", 1, 5},	  {"dev/full", 1, 7},
		{"dev/tty", 5, 0},  {"dev/random", 1, 8}, {"dev/urandom", 1, 9}};
	static const struct { const char *path, *target; } links[] = {
		{"dev/fd", "/proc/self/fd"},	   {"dev/stdin", "/proc/self/fd/0"},
		{"dev/stdout", "/proc/self/fd/1"}, {"dev/stderr", "/proc/self/fd/2"},
		{"dev/core", "/proc/kcore"},	   {"dev/ptmx", "pts/ptmx"}};
	umask(0);
	for (size_t i = 0; i < LENGTH(nodes); i++)
		CHECK(mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
	for (size_t i = 0; i < LENGTH(links); i++)
		CHECK(symlink(links[i].target, links[i].path));
	umask(022);
}

/* A path that this kernel does not have needs no cover. */
static void cover_paths(void)
{
	static const char *const files[] = {"proc/kcore", "proc/keys", "proc/latency_stats",
					    "proc/timer_list", "proc/sched_debug"};
	static const char *const directories[] = {"proc/acpi", "proc/asound", "proc/scsi",
						  "sys/firmware"};
	static const char *const read_only[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys",
						"proc/sysrq-trigger"};
	for (size_t i = 0; i < LENGTH(files); i++)
		if (mount("/dev/null", files[i], NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
			fail(files[i]);
	for (size_t i = 0; i < LENGTH(directories); i++)
		if (mount("tmpfs", directories[i], "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=1") < 0 &&
		    errno != ENOENT)
			fail(directories[i]);
	for (size_t i = 0; i < LENGTH(read_only); i++)
		if (access(read_only[i], F_OK) == 0)
			bind_read_only(read_only[i], read_only[i]);
}

static void enter_root(void)
{
	CHECK(syscall(SYS_pivot_root, ".", "."));
	CHECK(umount2(".", MNT_DETACH));
	CHECK(chdir("/"));
	CHECK(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
}

static void drop_privileges(void)
{
	const uint32_t keep = 1U << CAP_AUDIT_WRITE | 1U << CAP_KILL | 1U << CAP_NET_BIND_SERVICE;
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {{keep, keep, 0}};
	for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
		if (capability > 31 || !(keep >> capability & 1))
			CHECK(prctl(PR_CAPBSET_DROP, capability, 0, 0, 0));
	CHECK(setgroups(0, NULL));
	CHECK(syscall(SYS_capset, &header, data));
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static void be_the_container(int host)
{
	char root[300], go;
	snprintf(root, sizeof root, "%s/rootfs", bundle);
	join_groups();
	raise_loopback();
	CHECK(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL));
	CHECK(mount(root, root, NULL, MS_BIND | MS_REC, NULL));
	CHECK(chdir(root));
	mount_all();
	make_devices();
	cover_paths();
	enter_root();
	CHECK(sethostname("runc", 4));
	CHECK(setrlimit(RLIMIT_NOFILE, &(struct rlimit){1024, 1024}));
	CHECK(read(host, &go, 1));
	CHECK(setsid());
	drop_privileges();
	char *arguments[] = {"true", NULL};
	char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			       "TERM=xterm", NULL};
	execve("/bin/true", arguments, environment);
	fail("execve /bin/true");
}

/* ------------------------------------------------------ the whole */

static int run(void)
{
	char state[300];
	snprintf(state, sizeof state, "%s/%s", state_root, id);
	mkdir(state_root, 0700);
	CHECK(mkdir(state, 0700));
	if (version2)
		make_version2_group();
	else
		make_version1_groups();

	int pair[2];
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	struct clone_args arguments = {.flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC |
						CLONE_NEWUTS | CLONE_NEWPID,
				       .exit_signal = SIGCHLD};
	if (version2) {
		arguments.flags |= CLONE_INTO_CGROUP;
		arguments.cgroup = (uint64_t)group;
	}
	pid_t child = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
	CHECK(child);
	if (child == 0) {
		close(pair[0]);
		be_the_container(pair[1]);
	}
	close(pair[1]);
	write_state();
	CHECK(write(pair[0], "g", 1));
	int status;
	CHECK(waitpid(child, &status, 0));
	remove_groups();
	remove_state();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--version"))
			return puts("floor") < 0;
		else if (!strcmp(argv[i], "--cgroup-namespace"))
			cgroup_namespace = 1;
		else if (!strcmp(argv[i], "--root") && i + 1 < argc)
			state_root = argv[++i];
		else if (!strcmp(argv[i], "--memory") && i + 1 < argc)
			memory = argv[++i];
		else if (!strcmp(argv[i], "--bundle") && i + 1 < argc)
			bundle = argv[++i];
		else
			id = argv[i]; /* "run" first, the container last */
	}
	if (!bundle || !id) {
		fprintf(stderr, "usage: floor [OPTION]... run --bundle DIR ID\n");
		return 2;
	}
	struct statfs mounted;
	CHECK(statfs(MOUNT, &mounted));
	version2 = mounted.f_type == CGROUP2_SUPER_MAGIC;
	return run();
}
