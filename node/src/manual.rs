//! What helps at the command line: a first screen, completions, man pages. All made from the commands themselves.

use std::path::Path;

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;

/// For `flotilla` alone.
pub const FIRST_SCREEN: &str = "\
Flotilla: SFTP that survives its servers.

Try it
  flotilla dev                     three nodes on loopback with a demo user; says how to connect

Run it
  flotilla config check --config F what is wrong with a node's configuration
  flotilla serve --config F        a node

Administer it (FLOTILLA_ENDPOINT, FLOTILLA_TOKEN or --token-file)
  flotilla cluster status          nodes, who leads, how far each is
  flotilla user add NAME           users; also group, folder, role
  flotilla session list            who is connected, on which node
  flotilla quota show NAME         limits and what is used
  flotilla admin add NAME          admins; also token, api-key
  flotilla events --follow         who changes what, as it happens
  flotilla token reset --data D    a lost admin token, made anew on a node

  flotilla --help                  everything
  flotilla completions bash        completions for your shell; `flotilla man DIR` writes man pages
";

/// Writes a shell's completions to stdout. A reader that went away is no failure.
pub fn completions(mut command: Command, shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "flotilla", &mut script);
    let _ = std::io::Write::write_all(&mut std::io::stdout(), &script);
}

/// One page for the program and for every command, `flotilla-user-add.1`; replaces those that are there.
pub fn pages(command: Command, folder: &Path) -> Result<usize> {
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    page(&command, "flotilla", folder)
}

fn page(command: &Command, name: &str, folder: &Path) -> Result<usize> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name).render(&mut text)?;
    let file = folder.join(format!("{name}.1"));
    std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    let mut pages = 1;
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        pages += page(inner, &format!("{name}-{}", inner.get_name()), folder)?;
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_of_the_first_screen_is_one() {
        let words = |line: &str| -> Vec<String> { line.split_whitespace().skip(1).map(str::to_owned).collect() };
        let lines: Vec<&str> =
            FIRST_SCREEN.lines().map(str::trim).filter(|line| line.starts_with("flotilla ")).collect();
        assert!(lines.len() > 8);
        for line in lines {
            let mut command = crate::Arguments::command();
            for word in words(line) {
                let Some(inner) = command.find_subcommand(&word) else { break };
                command = inner.clone();
            }
            assert!(line.contains("--help") || command.get_name() != "flotilla", "{line}");
        }
    }

    #[test]
    fn man_pages_and_completions_name_the_verbs() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pages = super::pages(crate::Arguments::command(), folder.path()).expect("written");
        assert!(pages > 40, "{pages}");
        let page = std::fs::read_to_string(folder.path().join("flotilla-user-add.1")).expect("a page");
        assert!(page.contains("max\\-sessions"), "{page}");
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut crate::Arguments::command(), "flotilla", &mut script);
            assert!(String::from_utf8_lossy(&script).contains("api-key"), "{shell}");
        }
    }
}
