//! What a process of a container sees of itself and around it: the same look from inside, in a container of
//! ours and in one of runc's, line by line.
//!
//! There is no expectation here but that both are the same. What is not stands in `differences.rs`.

use std::fs;
use std::process::Command;

use crate::harness::bundle::{capabilities, mount, push, set_namespace, without_mount, without_namespace};
use crate::harness::pty::Terminal;
use crate::harness::runtime::wait;
use crate::harness::{Container, Lab, Outcome, Runtime, Value, eventually, json, tests};

tests![
    a_first_process_sees_what_runcs_sees,
    a_process_of_exec_sees_what_runcs_sees,
    a_process_with_a_terminal_sees_what_runcs_sees,
    nothing_of_the_caller_shows_that_runc_hides,
];

/// Prints everything about the shell that runs it, a line a fact, each line after the name of its source.
pub const LOOK: &str = r#"
p=/proc/$$
for fd in 0 1 2; do echo "fd: $fd $(stat -Lc '%u:%g %a %F' $p/fd/$fd)"; done
# By the shell itself: a child or a pipe would be one more.
for fd in 3 4 5 6 7 8 9 10 11 12; do [ -e $p/fd/$fd ] && echo "fd: $fd"; done
of() { while IFS= read -r line; do echo "$1: $line"; done; }
# By the shell itself, too: it may still be in fork, with all signals blocked, when the child looks.
while IFS= read -r line; do case $line in
    Pid:* | Tgid:* | Ngid:* | N[Ss]* | FDSize:* | Vm* | Rss* | Hugetlb* | SigQ:* | *ctxt_switches:* | State:*) ;;
    *) echo "status: $line" ;;
esac; done <$p/status
sed 's/.*) //' $p/stat | awk -v me=$$ '{ for (n = 3; n < 7; n++) if ($n == me) $n = "own"
    print "parent", $2, "group", $3, "session", $4, "tty", $5, "foreground", $6, "prio", $16, "nice", $17,
        "signal", $36, "rt", $38, "policy", $39 }' | of stat
tr '\0' '\n' <$p/environ | of environ
tr '\0' ' ' <$p/cmdline | head -c 12 | of cmdline
for file in limits oom_score_adj personality cgroup timerslack_ns coredump_filter loginuid sessionid setgroups \
    uid_map gid_map projid_map timens_offsets attr/current autogroup; do
    cat $p/$file 2>&1 | sed 's/autogroup-[0-9]*/autogroup/' | of $file
done
grep -E '^(policy|prio|clock-delta|uclamp)' $p/sched 2>&1 | grep -v clock | of sched
for name in root cwd exe; do readlink $p/$name | of $name; done
for ns in $p/ns/*; do echo ${ns##*/} $(readlink $ns); done | of ns
stat -c '%n %u:%g %a' $p/fd $p/environ $p/status $p/mem $p/maps $p/ns | sed "s|$p|self|" | of owner
id -u | of id; id -g | of id; id -G | of id
ionice -p $$ 2>&1 | of ionice
sed -nE 's/.* keyring +(_ses[^:]*).*/\1/p' /proc/keys | of keys
cut -d' ' -f4- $p/mountinfo | sed -E 's/(shared|master|propagate_from):[0-9]+/\1:N/g' | of mount
cd / && ls -lanR dev 2>/dev/null | awk '{ print $1, $3, $4, $5 == "0" ? "" : $5, $6 ~ /^[0-9]+$/ ? $6 : "", $NF }' | of dev
stat -c '%n %u:%g %a %F' / /proc /proc/self /sys /etc /tmp /dev/shm /run 2>&1 | of stat
hostname | of hostname; cat /proc/sys/kernel/domainname | of domainname
ip -o link 2>/dev/null | awk '{ print $2, $3 }' | of link; ip -o addr 2>/dev/null | awk '{ print $2, $3, $4 }' | of addr
cat /proc/sys/net/ipv4/ping_group_range /proc/sys/net/ipv4/ip_unprivileged_port_start 2>&1 | of sysctl
echo == end
"#;

/// How the look is taken.
#[derive(Clone, Copy)]
enum Call {
    /// As the container's first process.
    Run,
    /// By `exec` with these flags.
    Exec(&'static [&'static str]),
    /// By `exec --process` with this change of the config's process.
    File(fn(&mut Value)),
}

/// What the process has for its streams.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Streams {
    /// The caller's, who does not wait for the end.
    Detached,
    /// Those of a call in the foreground, which are not compared: runc copies between pipes.
    Foreground,
    /// A terminal, in a terminal.
    Terminal,
}

/// One situation.
struct Case {
    name: &'static str,
    config: fn(&mut Value),
    call: Call,
    /// What the caller's shell does before the call.
    caller: &'static str,
    streams: Streams,
    /// The first runc that does it as now.
    since: (u32, u32),
}

/// A process of `exec` that nobody waits for is one that the host's first process has to reap, which takes its
/// time: so most have a caller that waits.
const fn case(name: &'static str, config: fn(&mut Value), call: Call) -> Case {
    let streams = if matches!(call, Call::Run) { Streams::Detached } else { Streams::Foreground };
    Case { name, config, call, caller: "", streams, since: (1, 1) }
}

impl Case {
    const fn caller(mut self, script: &'static str) -> Self {
        self.caller = script;
        self
    }

    const fn foreground(mut self) -> Self {
        self.streams = Streams::Foreground;
        self
    }

    const fn detached(mut self) -> Self {
        self.streams = Streams::Detached;
        self
    }

    const fn terminal(mut self) -> Self {
        self.streams = Streams::Terminal;
        self
    }

    const fn since(mut self, major: u32, minor: u32) -> Self {
        self.since = (major, minor);
        self
    }

    /// What the look shows in a container of `runtime`.
    fn look(&self, lab: &Lab, runtime: &Runtime) -> Vec<String> {
        let look = ["sh", "-c", LOOK];
        let first = matches!(self.call, Call::Run);
        let mut c = lab.container_of(runtime, if first { &look } else { &["sleep", "1000"] });
        c.edit(self.config);
        let log = lab.next_file("log");
        let mut call = lab.command(runtime, &log);
        let (detached, terminal) = (self.streams == Streams::Detached, self.streams == Streams::Terminal);
        let detach = detached.then_some("--detach");
        match self.call {
            Call::Run => {
                c.edit(|v| v["process"]["terminal"] = json!(terminal));
                call.arg("run").arg("--bundle").arg(&c.bundle).args(detach).arg(&c.id);
            }
            Call::Exec(flags) => {
                c.up();
                let tty = terminal.then_some("--tty");
                call.arg("exec").args(flags).args(detach).args(tty).arg(&c.id).args(look);
            }
            Call::File(edit) => {
                c.up();
                let mut process = c.config["process"].clone();
                process["args"] = json!(look);
                process["terminal"] = json!(terminal);
                edit(&mut process);
                let file = lab.file("process.json", &process.to_string());
                call.args(["exec", "--process", &file]).args(detach).arg(&c.id);
            }
        }
        let mut shell = lab.clean(Command::new(&lab.settings.busybox));
        shell.args(["sh", "-c", &format!("{}\nexec \"$@\"", self.caller), "sh"]);
        shell.arg(call.get_program()).args(call.get_args());
        let text = if terminal { on_terminal(lab, &shell) } else { to_file(lab, shell) };
        c.delete(&["--force"]).ok();
        let lines = text.lines().map(|line| normal(line, &c));
        let counts = |line: &String| {
            let stream = ["fd: 0 ", "fd: 1 ", "fd: 2 "].iter().any(|fd| line.starts_with(fd));
            !(line.is_empty() || stream && self.streams == Streams::Foreground)
        };
        lines.filter(counts).collect()
    }
}

/// Runs a call in a terminal and gives all that it shows.
fn on_terminal(lab: &Lab, call: &Command) -> String {
    let mut terminal = Terminal::open();
    terminal.resize(31, 91);
    let child = terminal.spawn(lab, call);
    let text = terminal.read_until("== end");
    wait(child);
    text.replace('\r', "")
}

/// Runs a call and gives all that the container says on both of its streams, or the call itself.
fn to_file(lab: &Lab, mut call: Command) -> String {
    let path = lab.next_file("look");
    let file = fs::File::create(&path).unwrap();
    let code = wait(call.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap());
    eventually("the end of the look", || {
        let text = fs::read_to_string(&path).unwrap();
        (code != 0 || text.contains("== end")).then_some(text)
    })
}

/// Takes out what is another in every container.
fn normal(line: &str, c: &Container) -> String {
    let bundle = c.bundle.to_str().unwrap();
    // On a file system of the suite's own, the root of a mount is told from there on.
    let below = bundle.strip_prefix(c.lab.settings.dir.parent().unwrap().to_str().unwrap()).unwrap();
    let line = line.replace(bundle, "BUNDLE").replace(below, "BUNDLE").replace(&c.id, "ID");
    // `differences.rs` has these.
    let masked = line.contains("nr_inodes=") || line.ends_with(" - tmpfs tmpfs ro");
    let cgroup = line.starts_with("mount: / /sys/fs/cgroup ") && line.contains(" tmpfs ");
    let line = line.replace(" - cgroup systemd rw", " - cgroup cgroup rw");
    // The options of this file system are one for the whole host, and runc takes some of them off.
    let line = line.split_once(" - cgroup2 ").map_or(line.clone(), |(mount, _)| format!("{mount} - cgroup2"));
    if masked || cgroup {
        return String::new();
    }
    // The caller, or who has taken its place by now, where the container sees the host's processes.
    for parent in ["status: PPid:\t", "stat: parent "] {
        if let Some(rest) = line.strip_prefix(parent)
            && !rest.starts_with('0')
        {
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            return format!("{parent}somebody{rest}");
        }
    }
    // runc 1.3 gives a group of `exec -g` twice.
    if line.starts_with("status: Groups:") || line.starts_with("id: ") {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        words.dedup();
        return words.join(" ");
    }
    // Keyrings of other tests.
    if line.starts_with("keys: ") && !line.contains("ID") {
        return String::new();
    }
    // What the C library keeps for itself is the caller's business.
    if let Some(mask) = line.strip_prefix("status: SigIgn:\t") {
        let mask = u64::from_str_radix(mask, 16).unwrap_or(u64::MAX);
        return format!("status: SigIgn:\t{:016x}", mask & 0x7fff_ffff);
    }
    match line.split_once(":[") {
        // Namespaces are the host's or not.
        Some((name, _)) if line.starts_with("ns: ") => {
            let kind = name.rsplit(' ').next().unwrap_or_default();
            let own = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap_or_default();
            format!("{name} {}", if line.ends_with(own.to_str().unwrap()) { "host's" } else { "other" })
        }
        _ => line,
    }
}

/// Whether this is of a hierarchy of version 1 in which a container of runc may not be in its own cgroup. Old ones do not
/// know `misc`. And of those in a new slice systemd moves the first one into the slice's own cgroup for devices.
fn lost(lab: &Lab, runc: &Runtime, line: &str) -> bool {
    let of =
        |name: &str| line.contains(&format!(":{name}:")) || line.contains(&format!("/sys/fs/cgroup/{name} "));
    of("misc") && runc.is_runc_before(1, 2) || of("devices") && lab.has_units()
}

/// Looks by both runtimes and fails with every line that only one shows.
fn compare(lab: &Lab, cases: &[Case]) -> Outcome {
    lab.not_runc("is the other side")?;
    let runc = lab.runc()?;
    let mut faults = Vec::new();
    for case in cases.iter().filter(|c| !runc.is_runc_before(c.since.0, c.since.1)) {
        let (ours, theirs) = (case.look(lab, &lab.tare), case.look(lab, &runc));
        let only = |a: &[String], b: &[String], side: &str| {
            let lines = a.iter().filter(|line| !b.contains(line) && !lost(lab, &runc, line));
            lines.map(|line| format!("{}: only {side}: {line}", case.name)).collect::<Vec<_>>()
        };
        faults.extend(only(&ours, &theirs, "tare"));
        faults.extend(only(&theirs, &ours, "runc"));
    }
    assert!(faults.is_empty(), "{} differences:\n{}", faults.len(), faults.join("\n"));
    Ok(())
}

fn plain(_: &mut Value) {}

const ALL: [&str; 5] = ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN", "CAP_SYS_NICE", "CAP_SYS_PTRACE"];

/// A process that may much.
fn mighty(v: &mut Value) {
    capabilities(v, &ALL);
    v["process"]["noNewPrivileges"] = json!(false);
    v["linux"]["maskedPaths"] = json!([]);
    v["linux"]["readonlyPaths"] = json!([]);
    v["root"]["readonly"] = json!(false);
}

/// A process that may little.
fn user(v: &mut Value) {
    v["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [5, 6]});
    v["process"]["cwd"] = json!("/home/user");
}

fn umask(v: &mut Value) {
    v["process"]["user"]["umask"] = json!(0o77);
}

fn ambient(v: &mut Value) {
    user(v);
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        v["process"]["capabilities"][set] = json!(["CAP_KILL", "CAP_CHOWN"]);
    }
}

fn rights_of_a_set_each(v: &mut Value) {
    v["process"]["capabilities"] = json!({"bounding": ALL, "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_KILL"], "inheritable": ["CAP_CHOWN"], "ambient": ["CAP_CHOWN", "CAP_SYS_ADMIN"]});
}

fn settings(v: &mut Value) {
    capabilities(v, &ALL);
    v["process"]["oomScoreAdj"] = json!(123);
    v["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 3});
    v["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
    v["process"]["rlimits"] = json!([
        {"type": "RLIMIT_NOFILE", "hard": 512, "soft": 128}, {"type": "RLIMIT_CORE", "hard": 0, "soft": 0},
        {"type": "RLIMIT_STACK", "hard": 33554432, "soft": 4194304},
        {"type": "RLIMIT_NPROC", "hard": 4000, "soft": 3000}]);
}

fn environment(v: &mut Value) {
    for pair in ["A=1", "B=", "A=2", "HOME=/nowhere", "C=x y=z", "HOME="] {
        push(&mut v["process"]["env"], json!(pair));
    }
}

fn personality(v: &mut Value) {
    v["linux"]["personality"] = json!({"domain": "LINUX32"});
}

fn hosts_namespaces(v: &mut Value) {
    for kind in ["pid", "network", "ipc", "uts"] {
        without_namespace(v, kind);
    }
    for destination in ["/sys/fs/cgroup", "/sys"] {
        without_mount(v, destination);
    }
    mount(v, "/sys", "bind", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]);
    v["hostname"] = json!("");
}

fn cgroup_namespace(v: &mut Value) {
    set_namespace(v, "cgroup", None);
}

fn time_namespace(v: &mut Value) {
    set_namespace(v, "time", None);
    v["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 100}, "boottime": {"secs": 200, "nanosecs": 5}});
}

fn mounts(v: &mut Value) {
    v["root"]["readonly"] = json!(false);
    mount(v, "/tmp", "tmpfs", "tmpfs", &["size=1m", "mode=1700", "noexec", "uid=7"]);
    mount(v, "/home/new/deep", "bind", "/etc", &["rbind", "ro"]);
    mount(v, "/home/file", "bind", "/etc/hostname", &["bind", "nosuid", "nodev"]);
    mount(v, "/run", "tmpfs", "tmpfs", &["tmpcopyup", "rprivate"]);
    v["linux"]["rootfsPropagation"] = json!("slave");
    v["linux"]["maskedPaths"] = json!(["/home/user", "/etc/passwd", "/nowhere"]);
    v["linux"]["readonlyPaths"] = json!(["/etc", "/nowhere"]);
}

fn devices(v: &mut Value) {
    v["linux"]["devices"] = json!([
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/dev/deep/pipe", "type": "p"}, {"path": "/dev/block", "type": "b", "major": 7, "minor": 0}]);
}

fn a_first_process_sees_what_runcs_sees(lab: &Lab) -> Outcome {
    let run = |name, config| case(name, config, Call::Run);
    compare(
        lab,
        &[
            run("plain", plain),
            run("foreground", plain).foreground(),
            run("mighty", mighty),
            run("user", user),
            run("ambient", ambient),
            run("a set each", rights_of_a_set_each),
            run("settings", settings).since(1, 2),
            run("environment", environment).since(1, 3),
            run("personality", personality).since(1, 2),
            run("host's namespaces", hosts_namespaces),
            run("cgroup namespace", cgroup_namespace),
            run("time namespace", time_namespace).since(1, 2),
            run("mounts", mounts).since(1, 2),
            run("umask", umask),
            run("devices", devices),
        ],
    )
}

fn a_process_of_exec_sees_what_runcs_sees(lab: &Lab) -> Outcome {
    let exec = |name, config| case(name, config, Call::Exec(&[]));
    compare(
        lab,
        &[
            exec("plain", plain),
            exec("detached", plain).detached(),
            exec("detached as a user", user).detached(),
            exec("mighty", mighty),
            exec("user", user),
            exec("ambient", ambient),
            exec("a set each", rights_of_a_set_each),
            exec("settings", settings).since(1, 2),
            exec("environment", environment).since(1, 3),
            exec("personality", personality).since(1, 2),
            exec("host's namespaces", hosts_namespaces),
            exec("cgroup namespace", cgroup_namespace),
            exec("time namespace", time_namespace).since(1, 2),
            exec("umask", umask).since(1, 4),
            case("--user", plain, Call::Exec(&["--user", "1000:1000"])),
            case("--user of a user", user, Call::Exec(&["--user", "0"])),
            case("--user without a name", user, Call::Exec(&["-u", "77:88", "-g", "99"])),
            case("--cap", plain, Call::Exec(&["--cap", "CAP_NET_RAW"])),
            case("--cap for a user", user, Call::Exec(&["--cap", "CAP_NET_RAW"])),
            case("--cap with ambient", ambient, Call::Exec(&["--cap", "CAP_NET_RAW"])),
            case("--no-new-privs", mighty, Call::Exec(&["--no-new-privs"])),
            case("--env, --cwd", plain, Call::Exec(&["-e", "A=1", "-e", "TERM=vt", "--cwd", "/home/user"])),
            case("file", plain, Call::File(plain)),
            case(
                "file of a user",
                mighty,
                Call::File(|p| {
                    p["user"] = json!({"uid": 1000, "gid": 7, "additionalGids": [1, 2], "umask": 0o7});
                    p["cwd"] = json!("/tmp");
                    p["env"] = json!(["PATH=/bin", "X=1"]);
                }),
            ),
            case(
                "file with rights",
                plain,
                Call::File(|p| {
                    p["noNewPrivileges"] = json!(false);
                    p["capabilities"] = json!({"bounding": ALL, "permitted": ALL, "effective": ["CAP_CHOWN"],
                    "inheritable": ["CAP_KILL", "CAP_CHOWN"], "ambient": ["CAP_KILL"]});
                }),
            ),
            case("file without rights", mighty, Call::File(|p| p["capabilities"] = json!({}))),
            case(
                "file with settings",
                mighty,
                Call::File(|p| {
                    p["scheduler"] = json!({"policy": "SCHED_IDLE"});
                    p["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0});
                    p["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": 77, "soft": 66}]);
                }),
            )
            .since(1, 2),
            case(
                "file without limits",
                settings,
                Call::File(|p| {
                    for field in ["rlimits", "scheduler", "ioPriority", "oomScoreAdj"] {
                        p.as_object_mut().unwrap().remove(field);
                    }
                }),
            )
            .since(1, 2),
        ],
    )
}

fn a_process_with_a_terminal_sees_what_runcs_sees(lab: &Lab) -> Outcome {
    compare(
        lab,
        &[
            case("run", plain, Call::Run).terminal(),
            case("run as a user", user, Call::Run).terminal(),
            case("exec", plain, Call::Exec(&[])).terminal(),
            case("exec as a user", plain, Call::Exec(&["--user", "1000:1000"])).terminal(),
            case("exec file", plain, Call::File(plain)).terminal(),
            case("exec file as a user", plain, Call::File(|p| p["user"] = json!({"uid": 1000, "gid": 5})))
                .terminal(),
        ],
    )
}

/// All that a process hands down to its children, or nearly so.
const HANDED_DOWN: &str = "trap '' PIPE TERM USR1 CHLD; ulimit -c 0; ulimit -S -n 200; ulimit -S -s 4096; \
    renice -n 7 -p $$ >/dev/null; ionice -c 2 -n 7 -p $$; echo 55 >/proc/$$/oom_score_adj; \
    echo 0x7f >/proc/$$/coredump_filter; echo 123456 >/proc/$$/timerslack_ns";
const BOUND: &str = "taskset -p 1 $$ >/dev/null";

fn nothing_of_the_caller_shows_that_runc_hides(lab: &Lab) -> Outcome {
    compare(
        lab,
        &[
            case("run", plain, Call::Run).caller(HANDED_DOWN),
            case("run in the foreground", plain, Call::Run).foreground().caller(HANDED_DOWN),
            case("exec", plain, Call::Exec(&[])).caller(HANDED_DOWN),
            case("run on one processor", plain, Call::Run).caller(BOUND).since(1, 4),
            case("exec on one processor", plain, Call::Exec(&[])).caller(BOUND).since(1, 4),
        ],
    )
}
