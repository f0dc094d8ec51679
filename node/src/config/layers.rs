//! The layers of a configuration laid over each other, with the place that each value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// A configuration file is read whole.
const LARGEST_FILE: u64 = 1 << 20;

/// Where a value was set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    #[default]
    Default,
    /// The file that was given, or one of its `conf.d`, with the line of the key.
    File(PathBuf, usize),
    Environment(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(file, line) => write!(f, "{}:{line}", file.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(text) => write!(f, "flag --set {text}"),
        }
    }
}

/// File, `conf.d`, environment and flags, merged. Keys of `origins` are paths like `sftp.listen[0].address`.
#[derive(Debug, Default)]
pub struct Layers {
    pub table: Table,
    origins: BTreeMap<String, Origin>,
}

impl Layers {
    /// Lays a file over what is there.
    pub fn file(&mut self, file: &Path) -> Result<()> {
        let size = std::fs::metadata(file).with_context(|| format!("reading {}", file.display()))?.len();
        ensure!(size <= LARGEST_FILE, "{}: {size} bytes are no configuration file", file.display());
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let spanned = DeTable::parse(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(&text, span.start));
            anyhow::anyhow!("{}:{line}: not valid TOML: {}", file.display(), error.message())
        })?;
        // What parsed with places parses without.
        let table = text.parse::<Table>().with_context(|| format!("{} is not valid TOML", file.display()))?;
        let mut origins = BTreeMap::new();
        note_table(spanned.get_ref(), "", &mut origins, &|at| Origin::File(file.to_owned(), line_of(&text, at)));
        self.lay(table, origins);
        Ok(())
    }

    /// `FLOTILLA_LOG__LEVEL=debug` sets `log.level`.
    pub fn environment(&mut self, name: &str, value: &str) -> Result<()> {
        let path: Vec<String> = name["FLOTILLA_".len()..].split("__").map(str::to_lowercase).collect();
        ensure!(path.len() > 1 && path.iter().all(|part| !part.is_empty()), "{name}: expected FLOTILLA_SECTION__KEY");
        self.set(&path, value, Origin::Environment(name.to_owned()))
    }

    /// `log.level=debug` sets `log.level`.
    pub fn flag(&mut self, text: &str) -> Result<()> {
        let Some((key, value)) = text.split_once('=') else {
            bail!("--set {text}: expected SECTION.KEY=VALUE");
        };
        let path: Vec<String> = key.split('.').map(|part| part.trim().to_owned()).collect();
        ensure!(path.len() > 1 && path.iter().all(|part| !part.is_empty()), "--set {text}: expected SECTION.KEY=VALUE");
        self.set(&path, value, Origin::Flag(text.to_owned()))
    }

    /// The place of a key, or of the nearest thing around it.
    pub fn origin(&self, key: &str) -> Origin {
        let mut key = key;
        loop {
            if let Some(origin) = self.origins.get(key) {
                return origin.clone();
            }
            match key.rfind(['.', '[']) {
                Some(end) => key = &key[..end],
                None => return Origin::Default,
            }
        }
    }

    /// Values are TOML where they parse as such, text otherwise.
    fn set(&mut self, path: &[String], value: &str, origin: Origin) -> Result<()> {
        let parsed = format!("value = {value}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
        let mut value = parsed.unwrap_or_else(|| Value::String(value.to_owned()));
        for part in path.iter().rev() {
            value = Value::Table(Table::from_iter([(part.clone(), value)]));
        }
        let Value::Table(table) = value else { bail!("{origin}: no key given") };
        self.lay(table, BTreeMap::from([(path.join("."), origin)]));
        Ok(())
    }

    fn lay(&mut self, table: Table, origins: BTreeMap<String, Origin>) {
        // A list or a value replaces what was there, tables are merged.
        let replaced = |old: &str| {
            origins.keys().any(|new| {
                old.strip_prefix(new.as_str()).is_some_and(|rest| rest.starts_with('['))
                    || old == new
                    || (new.contains('[') && new.starts_with(old))
            })
        };
        self.origins.retain(|old, _| !replaced(old));
        self.origins.extend(origins);
        merge(&mut self.table, table);
    }
}

/// `conf.d/*.toml` beside the file, in order of name.
pub fn conf_d(file: &Path) -> Result<Vec<PathBuf>> {
    let folder = file.parent().unwrap_or(Path::new(".")).join("conf.d");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn note_table(
    table: &DeTable<'_>,
    under: &str,
    origins: &mut BTreeMap<String, Origin>,
    place: &dyn Fn(usize) -> Origin,
) {
    for (key, value) in table.iter() {
        let name = key.get_ref();
        let path = if under.is_empty() { name.to_string() } else { format!("{under}.{name}") };
        note(value, &path, key.span().start, origins, place);
    }
}

fn note(
    value: &Spanned<DeValue<'_>>,
    path: &str,
    at: usize,
    origins: &mut BTreeMap<String, Origin>,
    place: &dyn Fn(usize) -> Origin,
) {
    origins.insert(path.to_owned(), place(at));
    match value.get_ref() {
        DeValue::Table(table) => note_table(table, path, origins, place),
        DeValue::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                note(item, &format!("{path}[{number}]"), item.span().start, origins, place);
            }
        }
        _ => {}
    }
}

/// From 1.
fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}
