//! Passwords: from a terminal without echo, from a file or from stdin. Never from an argument.

use std::io::{IsTerminal, Read};
use std::path::Path;

use super::failure::Failure;

/// A longer one is refused by the cluster anyway.
const MAX_BYTES: u64 = 4096;

/// `-` is stdin. The line end is not part of it.
pub(super) fn from_file(path: &Path) -> Result<String, Failure> {
    let read = |from: &mut dyn Read| {
        let mut text = String::new();
        from.take(MAX_BYTES).read_to_string(&mut text).map(|_| text)
    };
    let text = if path == Path::new("-") {
        read(&mut std::io::stdin().lock())
    } else {
        std::fs::File::open(path).and_then(|mut file| read(&mut file))
    };
    let text = text.map_err(|error| Failure::usage(format!("--password-file {}: {error}", path.display())))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::usage(format!("--password-file {}: it holds no password", path.display())));
    }
    Ok(password.to_owned())
}

/// Asks twice. `None`: the answer was empty.
pub(super) fn prompt(username: &str) -> Result<Option<String>, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("no terminal to ask for a password: give --password-file FILE (- is stdin)"));
    }
    let ask =
        |text: String| rpassword::prompt_password(text).map_err(|error| Failure::other(format!("password: {error}")));
    let first = ask(format!("Password for {username}: "))?;
    if first.is_empty() {
        return Ok(None);
    }
    if ask("Again: ".to_owned())? != first {
        return Err(Failure::usage("the two passwords differ"));
    }
    Ok(Some(first))
}
