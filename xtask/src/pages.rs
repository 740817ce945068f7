//! `cargo xtask man DIR` and `cargo xtask completions DIR`: what is installed beside the program, made
//! from the definitions that it parses its command line with.
use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// What the definitions don't say, for the end of tare(8).
const MORE: &str = r#".SH EXIT STATUS
0 when the command has done its work; 1 when it has failed; 3 when there is no such command.
.B run
ends with the status of the container's program, or with 128 and the number of the signal that killed it.
.SH FILES
.TP
.I /run/tare
The state of containers, one directory for each.
.TP
.I config.json
What to run in a container and how to confine it, in the directory of the bundle.
.SH ENVIRONMENT
.TP
.B XDG_RUNTIME_DIR
For users other than root, the directory below which the state of containers is kept.
"#;

/// Writes a manual page for the program and for each of its commands.
pub fn man(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let program = tare::cli::command();
    for command in program.get_subcommands() {
        let name = format!("tare-{}", command.get_name());
        let page = command.clone().bin_name(format!("tare {}", command.get_name())).display_name(&name);
        write_page(dir, &name, page, ".SH SEE ALSO\n.BR tare (8)\n")?;
    }
    write_page(dir, "tare", program.clone(), MORE)
}

fn write_page(dir: &Path, name: &str, command: Command, more: &str) -> io::Result<()> {
    let mut page = Vec::new();
    let man = Man::new(command).title(name.to_uppercase()).section("8").manual("tare");
    man.source(concat!("tare ", env!("CARGO_PKG_VERSION"))).render(&mut page)?;
    page.extend_from_slice(more.as_bytes());
    fs::write(dir.join(name).with_extension("8"), page)
}

/// Writes the completions for bash, zsh and fish.
pub fn completions(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut tare::cli::command(), "tare", dir)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a task in a directory of its own and gives what it wrote, by name.
    fn written(name: &str, task: fn(&Path) -> io::Result<()>) -> Vec<(String, String)> {
        let dir = std::env::temp_dir().join(format!("tare-xtask-{name}-{}", std::process::id()));
        task(&dir).unwrap();
        let mut files: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        fs::remove_dir_all(&dir).unwrap();
        files.sort();
        files
    }

    #[test]
    fn every_command_has_a_page() {
        let pages = written("man", man);
        for name in tare::cli::COMMANDS.iter().map(|entry| entry.name) {
            let file = format!("tare-{name}.8");
            let (_, page) = pages.iter().find(|page| page.0 == file).unwrap_or_else(|| panic!("no {file}"));
            assert!(page.contains(&format!(".TH TARE-{} 8", name.to_uppercase())), "{page}");
        }
        assert!(pages.iter().any(|page| page.0 == "tare.8" && page.1.contains("EXIT STATUS")));
    }

    #[test]
    fn three_shells_know_the_commands() {
        let files = written("completions", completions);
        let names: Vec<_> = files.iter().map(|file| file.0.as_str()).collect();
        assert_eq!(names, ["_tare", "tare.bash", "tare.fish"]);
        for (name, text) in &files {
            assert!(text.contains("--preserve-fds") || text.contains("-l preserve-fds"), "{name}");
        }
    }
}
