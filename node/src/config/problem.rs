//! What is wrong with a configuration: where it stands, what it is and what to do about it.

use std::fmt;

use super::layers::{Layers, Origin};

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub origin: Origin,
    pub key: String,
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { origin, key, what, remedy } = self;
        write!(f, "{origin}: {key}: {what}: {remedy}")
    }
}

/// All mistakes that were found, one a line.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.0.iter().enumerate() {
            let end = if number + 1 == self.0.len() { "" } else { "\n" };
            write!(f, "{problem}{end}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Reads a serde error as a mistake: an unknown key, a missing one, a value of a wrong kind.
pub fn of_serde(layers: &Layers, path: &str, error: &toml::de::Error) -> Problem {
    let text = error.message();
    let path = if path == "." { "" } else { path };
    let below = |name: &str| match path {
        "" => name.to_owned(),
        path if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        path => format!("{path}.{name}"),
    };
    let problem = |key: String, what: &str, remedy: String| Problem {
        origin: layers.origin(&key),
        key,
        what: what.to_owned(),
        remedy,
    };
    if let Some(name) = quoted(text, "unknown field `") {
        let known: Vec<&str> = text.split('`').skip(3).step_by(2).collect();
        return problem(below(name), "unknown key", suggestion(name, &known));
    }
    if let Some(name) = quoted(text, "missing field `") {
        let section = if path.is_empty() { "the file".to_owned() } else { format!("[{path}]") };
        return problem(below(name), "missing", format!("add `{name} = …` to {section}"));
    }
    let remedy = "see docs/configuration.md for what it takes".to_owned();
    // The names of our own types say nothing to who writes the file.
    let what = text.split_once("expected struct ").map(|(found, _)| format!("{found}expected a table of keys"));
    problem(if path.is_empty() { "(file)".into() } else { path.to_owned() }, what.as_deref().unwrap_or(text), remedy)
}

fn quoted<'a>(text: &'a str, head: &str) -> Option<&'a str> {
    text.strip_prefix(head)?.split('`').next()
}

fn suggestion(name: &str, known: &[&str]) -> String {
    let near = known.iter().map(|other| (strsim::damerau_levenshtein(name, other), other)).min();
    match near {
        Some((distance, other)) if distance <= 2 => format!("did you mean `{other}`?"),
        _ if known.is_empty() => "remove it".to_owned(),
        _ => format!("remove it; known here: {}", known.join(", ")),
    }
}
