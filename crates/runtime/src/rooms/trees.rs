//! What of the host's files is mounted in a container whose root is somebody else on the host: opened by the
//! runtime, since that user may not look for it by its path, nor show it as somebody else's.
use std::os::fd::OwnedFd;

use crate::Result;
use crate::plan::Plan;
use crate::rooms::idmap::{self, UserNamespaces};
use crate::rooms::namespaces::{Joins, Namespace};
use crate::rooms::{mounts, rootfs};
use crate::spawn::Caller;

/// Mounts that are attached nowhere yet, and what those need that init makes.
#[derive(Debug, Default)]
pub struct Trees {
    /// The root file system.
    pub root: Option<OwnedFd>,
    /// The mounts, in their order, as far as they are opened or made here.
    pub mounts: Vec<Option<OwnedFd>>,
    /// The ids of mounts with id maps.
    pub users: UserNamespaces,
}

/// Opens them. An ordinary user has no right to, and is the same user in the container; a container with
/// other mounts than the host's finds its files there.
pub fn host_open(plan: &Plan, joins: &Joins) -> Result<Trees> {
    let users = idmap::host_open(mounts::id_maps(&plan.mounts), joins.user())?;
    let needed = plan.namespaces.user.is_private() && plan.namespaces.mount == Namespace::New;
    let possible = match plan.caller {
        Caller::Root => true,
        Caller::Guest => sys::ns::is_own("mnt")?,
        Caller::Ordinary => false,
    };
    if !needed || !possible {
        return Ok(Trees { users, ..Trees::default() });
    }
    let root = Some(rootfs::host_open(&plan.rootfs)?);
    Ok(Trees { root, mounts: mounts::host_open(&plan.mounts, &plan.rootfs.path, &users)?, users })
}
