//! `state` and `list`: what there is, in the shape that engines parse.
use super::Listed;
use crate::status::{self, Status};
use crate::store::{self, Entry, Purpose, State};
use crate::{Context, Error, Kind, OCI_VERSION, Result, users};

/// `state`.
pub fn state(ctx: &Context, id: &str) -> Result<oci::State> {
    let entry = store::open(&ctx.root, id, Purpose::Read)?;
    shape(&entry.load()?, &entry)
}

/// `list`: containers whose state can't be read come as warnings in the log.
pub fn list(ctx: &Context) -> Result<Vec<Listed>> {
    let Some(ids) = store::ids(&ctx.root)? else {
        return if ctx.root_is_explicit {
            let text = format!("open {}: no such file or directory", ctx.root.display());
            Err(Error::new(Kind::NotFound, text))
        } else {
            Ok(Vec::new())
        };
    };
    let mut rows = Vec::with_capacity(ids.len());
    for id in ids {
        match row(ctx, &id) {
            Ok(row) => rows.push(row),
            // One that is being made or deleted at this moment.
            Err(e) if e.kind == Kind::NotFound => {}
            Err(e) => log::warn!("container {id}: {e}"),
        }
    }
    Ok(rows)
}

fn row(ctx: &Context, id: &str) -> Result<Listed> {
    let entry = store::open(&ctx.root, id, Purpose::Read)?;
    let state = shape(&entry.load()?, &entry)?;
    let uid = entry.owner()?;
    let owner = users::name(uid).unwrap_or_else(|| format!("#{uid}"));
    Ok(Listed { state, owner })
}

fn shape(state: &State, entry: &Entry) -> Result<oci::State> {
    let status = status::of(state, entry)?;
    let pid = match status {
        Status::Stopped | Status::Creating => 0,
        Status::Created | Status::Running | Status::Paused => state.init.map_or(0, |init| init.pid),
    };
    Ok(oci::State {
        oci_version: OCI_VERSION.to_owned(),
        id: state.id.clone(),
        pid,
        status: status.to_string(),
        bundle: state.bundle.display().to_string(),
        rootfs: state.rootfs.display().to_string(),
        created: state.created.clone(),
        annotations: state.annotations.clone(),
        owner: String::new(),
    })
}
