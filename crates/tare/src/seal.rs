//! Keeping the program's own file out of the reach of containers (CVE-2019-5736).
//!
//! A process of ours that enters a container can be looked at from inside: `/proc/PID/exe` leads to the
//! program on the host, and root in the container could overwrite it. So before such a process is made the
//! program starts again from a file that nobody can write to: itself, seen through a read-only overlay that
//! is mounted nowhere, or else a sealed copy in memory. The second start finds out by looking at its own
//! file that this has happened; it is told nothing, so nothing can be left behind or be forged.
use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use runtime::{Error, Kind, Result};
use sys::file::Stat;
use sys::mount::{NewFs, attr};
use sys::{Errno, OFlags, exe, file, mount};

/// File systems of statfs(2) that can't be written to by anybody: cramfs, erofs, iso9660, romfs, squashfs.
const READ_ONLY: [u64; 5] = [0x28cd_3d45, 0xe0f5_e1e2, 0x9660, 0x7275, 0x7371_7368];
/// The file system that a sealed copy in memory is on.
const TMPFS: u64 = 0x0102_1994;
/// The file system that the program is seen through.
const OVERLAY: u64 = 0x794c_7630;

/// Directories of which one serves as the second layer that an overlay must have.
const SECOND_LAYERS: [&str; 2] = ["/run", "/dev"];

/// Returns when the program runs from a file that a container can't write to; else starts it again, with
/// the same arguments, from one.
pub fn seal(args: &[OsString]) -> Result<()> {
    let own = exe::open_own()?;
    if is_safe(own.as_fd())? {
        return restore_name(args);
    }
    let mut failures = Vec::new();
    for make in [through_overlay, copy] {
        match make(own.as_fd()).and_then(|program| start_again(program.as_fd(), args)) {
            Err(error) => failures.push(error.text),
        }
    }
    let text = format!("the program's file can't be kept from the container: {}", failures.join("; "));
    Err(Error::new(Kind::System, text).hint(
        "root needs overlayfs in the kernel; anybody else needs the sysctl vm.memfd_noexec to be less than 2",
    ))
}

/// Whether no container can write to the program `fd`, judged by what file it is.
fn is_safe(program: BorrowedFd<'_>) -> Result<bool> {
    Ok(match mount::fs_magic(program)? {
        magic if READ_ONLY.contains(&magic) => true,
        TMPFS => exe::is_sealed(program),
        // An overlay without an upper layer stays read-only for ever. One with an upper layer can be
        // remounted by whoever mounted it, but ours is the only one that has no place in the tree.
        OVERLAY => is_read_only(program) && !has_path(program)?,
        _ => false,
    })
}

/// Whether the whole file system of a program is read-only, and not only the mount.
fn is_read_only(program: BorrowedFd<'_>) -> bool {
    exe::open_for_writing(program).is_err_and(|error| error.errno == Errno::ROFS)
}

/// Whether a program can be found under the path that the kernel gives for it.
fn has_path(program: BorrowedFd<'_>) -> Result<bool> {
    let here = file::stat_fd(program)?;
    let path = exe::path(program)?;
    Ok(file::stat(path).is_ok_and(|there| (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)))
}

/// Opens the program `own` through an overlay over its directory. It is mounted nowhere, so nobody else
/// sees it, and it has no upper layer, so it can't be written to.
fn through_overlay(own: BorrowedFd<'_>) -> Result<OwnedFd> {
    let path = exe::path(own)?;
    let unfit = || Error::new(Kind::System, format!("overlay: no layers for {}", path.display()));
    let (Some(dir), Some(name)) = (path.parent().and_then(Path::to_str), path.file_name()) else {
        return Err(unfit());
    };
    let overlay = NewFs::open("overlay")?;
    overlay.set("lowerdir", &layers(dir).ok_or_else(unfit)?)?;
    // Inode numbers need not be unique across the layers; without this the kernel may log that they aren't.
    let _ = overlay.set("xino", "off");
    let root = overlay.mount(attr::RDONLY | attr::NOSUID | attr::NODEV)?;
    let view = file::open_at(root.as_fd(), name, OFlags::RDONLY | OFlags::NOFOLLOW, 0)?;
    // The path was right when the program was started: by now another file may be there.
    if identity(&file::stat_fd(view.as_fd())?) != identity(&file::stat_fd(own)?) {
        return Err(Error::new(Kind::System, format!("overlay: {} is another program now", path.display())));
    }
    Ok(view)
}

/// The layers of an overlay over `dir`, the upper one first.
fn layers(dir: &str) -> Option<String> {
    let inside = |a: &str, b: &str| Path::new(a).starts_with(b);
    // The kernel refuses, and logs, a layer within another.
    let second = SECOND_LAYERS.iter().find(|layer| !inside(layer, dir) && !inside(dir, layer))?;
    let escaped = dir.replace('\\', "\\\\").replace(':', "\\:");
    Some(format!("{escaped}:{second}"))
}

/// What a file and the view of it through an overlay have in common.
fn identity(stat: &Stat) -> (u64, i64, i64, u64) {
    (stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec)
}

/// Copies the program to memory.
fn copy(own: BorrowedFd<'_>) -> Result<OwnedFd> {
    Ok(exe::copy_to_memory(own, "tare")?)
}

/// Starts the program again from the file `program`.
fn start_again(program: BorrowedFd<'_>, args: &[OsString]) -> Result<Infallible> {
    // What the next start would not take for safe would make it try the same again, for ever.
    if !is_safe(program)? {
        return Err(Error::new(Kind::System, format!("{} can be written to", exe::path(program)?.display())));
    }
    let args = args.iter().map(|arg| CString::new(arg.as_bytes()).expect("an argument has no NUL inside"));
    let errno = exe::execute(program, &args.collect::<Vec<_>>());
    Err(Error::new(Kind::System, format!("execveat: {}", sys::errno_text(errno))))
}

/// Gives the process the name that it had before it was started again, which the kernel took from the file.
fn restore_name(args: &[OsString]) -> Result<()> {
    let name = args.first().and_then(|called_as| Path::new(called_as).file_name()).unwrap_or_default();
    match CString::new(name.as_bytes()) {
        Ok(name) if !name.is_empty() => Ok(exe::set_process_name(&name)?),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_lie_beside_each_other() {
        for (dir, layers_of) in [
            ("/usr/bin", Some("/usr/bin:/run")),
            ("/usr/local/a:b/c\\d", Some("/usr/local/a\\:b/c\\\\d:/run")),
            ("/run", Some("/run:/dev")),
            ("/run/tare", Some("/run/tare:/dev")),
            ("/runner", Some("/runner:/run")),
            ("/", None),
        ] {
            assert_eq!(layers(dir).as_deref(), layers_of, "{dir}");
        }
    }
}
