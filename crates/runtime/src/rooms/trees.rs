//! What of the host's files is mounted in a container whose root is somebody else on the host: opened by the
//! runtime, since that user may not look for it by its path, nor show it as somebody else's.
//!
//! It is opened among the mounts of init, and not among those of the host. As copies for another user namespace
//! these are locked: what is read-only, or covered by another mount, stays that for root of the container,
//! whatever its capabilities.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::Result;
use crate::plan::Plan;
use crate::rooms::idmap::UserNamespaces;
use crate::rooms::namespaces::{self, Namespace};
use crate::rooms::{mounts, rootfs};
use crate::spawn::Caller;
use crate::sync::{self, FromInit};

/// Mounts that are attached nowhere yet.
#[derive(Debug, Default)]
pub struct Trees {
    /// The root file system.
    pub root: Option<OwnedFd>,
    /// The mounts, in their order, as far as the runtime opens or makes them.
    pub mounts: Vec<Option<OwnedFd>>,
}

/// Whether there are any. An ordinary user has no right to open them, and is the same user in the container; a
/// container with other mounts than the host's finds its files there.
pub fn host_decide(plan: &Plan) -> Result<bool> {
    let needed = plan.namespaces.user.is_private() && plan.namespaces.mount == Namespace::New;
    Ok(needed
        && match plan.caller {
            Caller::Root => true,
            // Others don't come back from the mount namespace of init.
            Caller::Guest => sys::ns::is_own("mnt")?,
            Caller::Ordinary => false,
        })
}

/// Opens them in the mount namespace of `init`, whose root directory is `root`, and hands them over.
pub fn host_hand_over(
    plan: &Plan,
    users: &UserNamespaces,
    init: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
    sync: &OwnedFd,
) -> Result<()> {
    let trees = namespaces::host_among_mounts(init, root, || {
        let root = Some(rootfs::host_open(&plan.rootfs)?);
        Ok(Trees { root, mounts: mounts::host_open(&plan.mounts, &plan.rootfs.path, users)? })
    })?;
    let opened = trees.root.iter().chain(trees.mounts.iter().flatten());
    opened.into_iter().try_for_each(|tree| sync::hand_to_init(sync, tree.as_fd()))
}

/// Asks the runtime for them, if there are any; `None` when it has gone away meanwhile.
pub fn init_receive(plan: &Plan, are_there: bool, sync: &OwnedFd) -> Result<Option<Trees>> {
    if !are_there {
        return Ok(Some(Trees::default()));
    }
    sync::tell_runtime(sync, &FromInit::NeedTrees(sys::file::open_dir("/")?))?;
    let Some(root) = sync::take_from_runtime(sync)? else { return Ok(None) };
    let mut trees = Trees { root: Some(root), mounts: Vec::new() };
    for mount in &plan.mounts {
        trees.mounts.push(if mounts::is_for_host(mount, &plan.rootfs.path) {
            let Some(tree) = sync::take_from_runtime(sync)? else { return Ok(None) };
            Some(tree)
        } else {
            None
        });
    }
    Ok(Some(trees))
}
