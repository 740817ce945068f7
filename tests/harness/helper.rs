//! What the suite's program does as a part of a test, where no shell can: in a container, which it is mounted
//! into, or as the caller of a runtime.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::bundle::mount;
use super::leaks::sweep_at_the_end;
use super::{Lab, Value};

/// Its path in a container.
pub const PROGRAM: &str = "/bin/helper";

/// Puts the program into a container.
pub fn add(config: &mut Value) {
    let own = std::env::current_exe().unwrap();
    mount(config, PROGRAM, "bind", own.to_str().unwrap(), &["bind", "ro"]);
}

/// A command that sets its parent death signal and becomes `program`.
pub fn dying_with_its_parent(lab: &Lab, signal: Signal, program: &Command) -> Command {
    let mut command = lab.clean(Command::new(std::env::current_exe().unwrap()));
    command.args(["--die-with-parent", &signal.as_raw().to_string()]);
    command.arg(program.get_program()).args(program.get_args());
    command
}

/// The beginning of a command line that becomes the user `uid`, with no more rights than that.
pub fn becoming(uid: u32) -> [String; 3] {
    let own = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    [own, "--as".to_owned(), uid.to_string()]
}

/// Does what the arguments ask for, if they are not for the tests.
pub fn asked() -> Option<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match (args.first()?.as_str(), &args[1..]) {
        ("--sweep-at-the-end", [dir]) => sweep_at_the_end(dir.as_ref()),
        ("--say", messages) => messages.iter().try_for_each(|message| to_notify_socket(message, 0)),
        ("--hand-over", [message, count]) => {
            (0..count.parse().unwrap_or(0)).try_for_each(|_| to_notify_socket(message, 10))
        }
        ("--flood", messages) => loop {
            for message in messages {
                let _ = to_notify_socket(message, 0);
            }
        },
        ("--exchange", [dir, one, other]) => super::race::exchange(dir, one, other),
        ("--die-with-parent", [signal, program, args @ ..]) => {
            let signal = signal.parse().ok().and_then(Signal::from_named_raw);
            set_parent_process_death_signal(signal).map_err(Into::into).and_then(|()| {
                let error = Command::new(program).args(args).exec();
                Err(error)
            })
        }
        ("--as", [uid, program, args @ ..]) => uid.parse().map_err(std::io::Error::other).and_then(|uid| {
            // A terminal is that of whoever logs in there.
            if rustix::termios::isatty(std::io::stdin()) {
                std::os::unix::fs::fchown(std::io::stdin(), Some(uid), None)?;
            }
            Err(Command::new(program).args(args).uid(uid).gid(uid).exec())
        }),
        _ => return None,
    };
    if let Err(e) = &done {
        eprintln!("{args:?}: {e}");
    }
    Some(if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends a message to `$NOTIFY_SOCKET`, with so many descriptors.
fn to_notify_socket(message: &str, fds: usize) -> std::io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(std::env::var_os("NOTIFY_SOCKET").unwrap_or_default())?;
    let file = std::fs::File::open("/")?;
    let list = vec![file.as_fd(); fds];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if fds > 0 {
        control.push(SendAncillaryMessage::ScmRights(&list));
    }
    sendmsg(&socket, &[IoSlice::new(message.as_bytes())], &mut control, SendFlags::empty())?;
    Ok(())
}
