//! `tare list`.
use clap::Args;
use runtime::{Context, Result, ops};

use crate::cli::Act;
use crate::output::{self, Format};

/// List the containers
#[derive(Args)]
pub struct List {
    /// What to print: table or json
    #[arg(long, short, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    format: String,
    /// Print the names alone
    #[arg(long, short)]
    quiet: bool,
}

impl Act for List {
    fn act(self, ctx: &Context) -> Result<i32> {
        let format: Format = self.format.parse()?;
        let mut states = Vec::new();
        for listed in ops::list(ctx)? {
            let mut state = listed.state;
            state.owner = listed.owner;
            states.push(state);
        }
        let text = match format {
            _ if self.quiet => {
                states.iter().flat_map(|state| [state.id.as_str(), "\n"]).collect::<String>().into()
            }
            Format::Table => table(&states).into(),
            Format::Json => output::json_line(&states),
        };
        output::print(&text)?;
        Ok(0)
    }
}

fn table(states: &[oci::State]) -> String {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(states.iter().cloned().map(|state| {
        let oci::State { id, pid, status, bundle, created, owner, .. } = state;
        [id, pid.to_string(), status, bundle, created, owner]
    }));
    output::aligned(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_that_of_runc() {
        assert_eq!(table(&[]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
        let state = oci::State {
            id: "c1".to_owned(),
            pid: 17175,
            status: "running".to_owned(),
            bundle: "/a/bundle/somewhere".to_owned(),
            created: "2026-11-21T16:20:28.583537507Z".to_owned(),
            owner: "root".to_owned(),
            ..oci::State::default()
        };
        assert_eq!(
            table(&[state]),
            "ID          PID         STATUS      BUNDLE                CREATED                          OWNER\n\
             c1          17175       running     /a/bundle/somewhere   2026-11-21T16:20:28.583537507Z   root\n"
        );
    }
}
