//! A terminal to run things in, as a person would sit at one, and the socket that receives one.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    InputModes, OptionalActions, OutputModes, Termios, Winsize, tcgetattr, tcsetattr, tcsetwinsize,
};

use super::{Lab, PATIENCE, eventually};

pub struct Terminal {
    pub master: File,
    /// Kept open, so that the settings can be looked at after the program has gone.
    pub slave: OwnedFd,
    seen: String,
}

impl Terminal {
    pub fn open() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        Self { master: File::from(master), slave, seen: String::new() }
    }

    /// One that arrived as the master side of a container's terminal.
    pub fn of(master: OwnedFd) -> Self {
        let slave = File::open("/dev/null").unwrap().into();
        Self { master: File::from(master), slave, seen: String::new() }
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
            .unwrap();
    }

    /// Newlines are shown as they come, as all other bytes are.
    pub fn keep_newlines(&self) {
        let mut modes = self.modes();
        modes.output_modes.remove(OutputModes::ONLCR);
        self.set_modes(&modes);
    }

    /// Runs `program` with this as its controlling terminal.
    pub fn spawn(&self, lab: &Lab, program: &Command) -> Child {
        self.spawn_with(lab, program, |_| ())
    }

    /// The same, after `edit` of what else it is given.
    pub fn spawn_with(&self, lab: &Lab, program: &Command, edit: impl FnOnce(&mut Command)) -> Child {
        let mut command = lab.clean(Command::new(&lab.settings.busybox));
        command.args(["setsid", "-c"]).arg(program.get_program()).args(program.get_args());
        let slave = || self.slave.try_clone().unwrap();
        command.stdin(slave()).stdout(slave()).stderr(slave());
        edit(&mut command);
        command.spawn().unwrap()
    }

    pub fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until `text` has been printed, and gives everything from the last call up to it.
    #[track_caller]
    pub fn read_until(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let found = loop {
            if let Some(at) = self.seen.find(text) {
                break at + text.len();
            }
            let tail = self.seen.len().saturating_sub(500);
            assert!(
                Instant::now() < end,
                "the terminal never showed {text:?}, but {:?}",
                self.seen.get(tail..)
            );
            self.read_some(Duration::from_millis(200));
        };
        self.seen.drain(..found).collect()
    }

    /// What has come meanwhile, after a short wait for it.
    pub fn read_now(&mut self) -> String {
        self.read_some(Duration::from_millis(20));
        std::mem::take(&mut self.seen)
    }

    fn read_some(&mut self, patience: Duration) -> bool {
        let timeout = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos().into() };
        let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
        if poll(&mut fds, Some(&timeout)).unwrap() == 0 {
            return false;
        }
        let mut buffer = [0; 4096];
        // EIO: nobody has the other side open.
        let Ok(count) = self.master.read(&mut buffer) else {
            std::thread::sleep(Duration::from_millis(5));
            return false;
        };
        self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        count > 0
    }

    /// Waits until a runtime has it in raw mode; the line editor of a shell leaves these settings alone.
    #[track_caller]
    pub fn wait_until_raw(&self) {
        eventually("the terminal to be raw", || self.is_raw().then_some(()));
    }

    pub fn is_raw(&self) -> bool {
        !self.modes().input_modes.contains(InputModes::ICRNL)
    }

    pub fn modes(&self) -> Termios {
        tcgetattr(&self.slave).unwrap()
    }

    /// Sets what [`Self::modes`] gave.
    pub fn set_modes(&self, modes: &Termios) {
        tcsetattr(&self.slave, OptionalActions::Now, modes).unwrap();
    }

    pub fn settings(&self) -> String {
        let Termios { input_modes, output_modes, control_modes, local_modes, .. } = self.modes();
        format!("{input_modes:?} {output_modes:?} {control_modes:?} {local_modes:?}")
    }
}

/// Accepts one connection and the descriptor that comes over it, with the text beside it.
pub fn receive(listener: &UnixListener) -> (OwnedFd, String) {
    let mut fds = [PollFd::new(listener, PollFlags::IN)];
    let timeout = Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(poll(&mut fds, Some(&timeout)).unwrap(), 1, "nobody connected to the socket");
    let (stream, _) = listener.accept().unwrap();
    let mut text = [0; 4096];
    let mut space = [MaybeUninit::uninit(); 64];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message =
        recvmsg(stream.as_fd(), &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)
            .unwrap();
    let fds = control.drain().filter_map(|m| match m {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let mut fds: Vec<OwnedFd> = fds.flatten().collect();
    assert_eq!(fds.len(), 1, "one descriptor is sent");
    (fds.remove(0), String::from_utf8_lossy(&text[..message.bytes]).into_owned())
}
