//! Device filters of cgroup v2: loading and attaching BPF programs with `bpf(2)`.
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::error::{Errno, Named, Result, check};

/// One instruction, `struct bpf_insn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

impl Insn {
    /// An instruction from its parts; `target` and `source` are register numbers below 16.
    pub const fn new(code: u8, target: u8, source: u8, offset: i16, immediate: i32) -> Self {
        // The two registers are bit fields, whose order follows the byte order.
        let registers =
            if cfg!(target_endian = "little") { source << 4 | target } else { target << 4 | source };
        Insn { code, registers, offset, immediate }
    }

    /// The eight bytes as the kernel reads them.
    pub fn to_bytes(self) -> [u8; 8] {
        let [o0, o1] = self.offset.to_ne_bytes();
        let [i0, i1, i2, i3] = self.immediate.to_ne_bytes();
        [self.code, self.registers, o0, o1, i0, i1, i2, i3]
    }
}

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_TYPE_CGROUP_DEVICE: u32 = 6;
/// Programs of this cgroup and of those above it all have to agree.
const FLAG_ALLOW_MULTI: u32 = 2;
/// One of them is to be replaced.
const FLAG_REPLACE: u32 = 4;
/// What the kernel calls the programs that are loaded here, by which they are known again.
const NAME: [u8; 16] = *b"tare_devices\0\0\0\0";

/// What `bpf_attr` holds for `BPF_PROG_LOAD`, up to the last member used.
#[repr(C)]
struct LoadAttr {
    program_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// The same for `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
struct AttachAttr {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
    replaced: u32,
}

/// The same for `BPF_PROG_QUERY`, whole: Linux 6.17 to 7.1 write `revision` whatever size is given.
#[repr(C)]
struct QueryAttr {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
    program_flags: u64,
    link_ids: u64,
    link_flags: u64,
    revision: u64,
}

/// The same for `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// The same for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoAttr {
    fd: u32,
    size: u32,
    info: u64,
}

/// `bpf_prog_info` up to the name; all but that is the kernel's to fill in, and of no interest here.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    /// `type` to `map_ids`.
    others: [u64; 8],
    name: [u8; 16],
}

/// Loads a program that decides about device accesses (`BPF_PROG_TYPE_CGROUP_DEVICE`, Linux 4.15).
///
/// `EPERM` can mean that `RLIMIT_MEMLOCK` is too low on kernels before 5.11.
pub fn load_device_program(program: &[Insn]) -> Result<OwnedFd> {
    const LICENSE: &CStr = c"Apache-2.0";
    let mut attr = LoadAttr {
        program_type: PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).unwrap_or(u32::MAX),
        instructions: program.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: NAME,
    };
    // A signal makes the verifier give up with EAGAIN.
    let mut tries = 10;
    loop {
        // SAFETY: attr has the layout of this command; its pointers name `count` instructions and a string
        // with its NUL, which live through the call and are only read.
        let ret = unsafe { bpf_fd(PROG_LOAD, &mut attr) };
        match ret {
            Err(Errno::AGAIN) if tries > 0 => tries -= 1,
            ret => return ret.named("bpf", || format!("BPF_PROG_LOAD {} instructions", program.len())),
        }
    }
}

/// Attaches a device program to the directory `cgroup` of cgroup v2, beside those that are there.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let mut attr = AttachAttr {
        target: raw(cgroup),
        program: raw(program),
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        flags: FLAG_ALLOW_MULTI,
        replaced: 0,
    };
    // SAFETY: attr has the layout of this command and holds no pointer.
    let ret = unsafe { bpf(PROG_ATTACH, &mut attr) };
    ret.call("bpf BPF_PROG_ATTACH").map(drop)
}

/// Puts a device program in the place of another one that is attached to the directory `cgroup`, in one step.
///
/// `EINVAL` means that the kernel cannot do that (Linux before 5.6).
pub fn replace_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: BorrowedFd<'_>,
) -> Result<()> {
    let mut attr = AttachAttr {
        target: raw(cgroup),
        program: raw(program),
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        flags: FLAG_ALLOW_MULTI | FLAG_REPLACE,
        replaced: raw(replaced),
    };
    // SAFETY: attr has the layout of this command and holds no pointer.
    let ret = unsafe { bpf(PROG_ATTACH, &mut attr) };
    ret.call("bpf BPF_PROG_ATTACH BPF_F_REPLACE").map(drop)
}

/// Detaches a device program from the directory `cgroup`.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let mut attr = AttachAttr {
        target: raw(cgroup),
        program: raw(program),
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        flags: 0,
        replaced: 0,
    };
    // SAFETY: attr has the layout of this command and holds no pointer.
    let ret = unsafe { bpf(PROG_DETACH, &mut attr) };
    ret.call("bpf BPF_PROG_DETACH").map(drop)
}

/// The device programs that are attached to the directory `cgroup` itself.
///
/// Programs that a security module keeps from us are left out.
pub fn attached_device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
    // The kernel lets at most 64 programs be attached to one cgroup.
    let mut ids = [0u32; 64];
    let mut attr = QueryAttr {
        target: raw(cgroup),
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: 64,
        padding: 0,
        program_flags: 0,
        link_ids: 0,
        link_flags: 0,
        revision: 0,
    };
    // SAFETY: attr has the layout of this command; ids has room for the 64 numbers that it announces, and
    // the other pointers are null.
    let ret = unsafe { bpf(PROG_QUERY, &mut attr) };
    ret.call("bpf BPF_PROG_QUERY")?;
    let mut programs = Vec::new();
    for &id in ids.iter().take(attr.count as usize) {
        let mut attr = IdAttr { id, next_id: 0, open_flags: 0 };
        // SAFETY: attr has the layout of this command and holds no pointer.
        let ret = unsafe { bpf_fd(PROG_GET_FD_BY_ID, &mut attr) };
        match ret {
            Ok(fd) => programs.push(fd),
            Err(Errno::PERM | Errno::ACCESS | Errno::NOENT) => {}
            Err(errno) => return Err(errno).named("bpf", || format!("BPF_PROG_GET_FD_BY_ID {id}")),
        }
    }
    Ok(programs)
}

/// Who has loaded a program, going by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    /// [`load_device_program`], in whichever process.
    Own,
    /// systemd.
    Systemd,
    /// Somebody else.
    Other,
}

/// Tells who has loaded a program.
pub fn loader(program: BorrowedFd<'_>) -> Result<Loader> {
    let mut info = ProgramInfo::default();
    let size = u32::try_from(size_of::<ProgramInfo>()).unwrap_or(0);
    let mut attr = InfoAttr { fd: raw(program), size, info: std::ptr::from_mut(&mut info) as u64 };
    // SAFETY: attr has the layout of this command; info has the size that it announces, and holds zeros, so that the
    // kernel finds no pointer in it.
    let ret = unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) };
    ret.call("bpf BPF_OBJ_GET_INFO_BY_FD")?;
    Ok(match &info.name {
        name if *name == NAME => Loader::Own,
        b"sd_devices\0\0\0\0\0\0" => Loader::Systemd,
        _ => Loader::Other,
    })
}

/// One call of bpf(2).
///
/// # Safety
/// `attr` must have the layout of `bpf_attr` for `command`, and its pointers must be valid for it.
unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> Result<libc::c_long, Errno> {
    // SAFETY: the caller vouches for what attr points to; its own memory has the size given.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) })
}

/// One call of bpf(2) that makes a descriptor, which the kernel opens close-on-exec.
///
/// # Safety
/// As for [`bpf`], and `command` must be one that returns a new descriptor.
unsafe fn bpf_fd<T>(command: libc::c_int, attr: &mut T) -> Result<OwnedFd, Errno> {
    // SAFETY: the caller vouches for command and attr.
    let ret = unsafe { bpf(command, attr) }?;
    let fd = libc::c_int::try_from(ret).map_err(|_| Errno::BADF)?;
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_has_the_kernel_s_layout() {
        assert_eq!(size_of::<Insn>(), 8);
        let insn = Insn::new(0xb7, 1, 2, -2, 7);
        if cfg!(target_endian = "little") {
            assert_eq!(insn.to_bytes(), [0xb7, 0x21, 0xfe, 0xff, 7, 0, 0, 0]);
        }
        assert_eq!((size_of::<LoadAttr>(), size_of::<QueryAttr>()), (64, 64));
        assert_eq!((std::mem::offset_of!(ProgramInfo, name), size_of::<ProgramInfo>()), (64, 80));
    }
}
