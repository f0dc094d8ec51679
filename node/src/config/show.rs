//! A configuration as flat keys: for `config show`, and to see what a reload changes.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::json;
use toml::{Table, Value};

use super::{Config, Loaded};

/// Every key with its value. Lists are one value.
pub fn flat(config: &Config) -> Result<BTreeMap<String, Value>> {
    let table = Table::try_from(config).context("writing the configuration")?;
    let mut keys = BTreeMap::new();
    flatten(&table, "", &mut keys);
    Ok(keys)
}

fn flatten(table: &Table, under: &str, keys: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let name = if bare { name.clone() } else { Value::String(name.clone()).to_string() };
        let path = if under.is_empty() { name } else { format!("{under}.{name}") };
        match value {
            Value::Table(inner) => flatten(inner, &path, keys),
            value => {
                keys.insert(path, value.clone());
            }
        }
    }
}

/// TOML that could be pasted into a file, each line with its origin. Secrets stand in files of their own and are not shown.
pub fn as_toml(loaded: &Loaded) -> Result<String> {
    let keys = flat(&loaded.config)?;
    let lines: Vec<(String, String)> =
        keys.iter().map(|(key, value)| (format!("{key} = {value}"), loaded.layers.origin(key).to_string())).collect();
    let width = lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= 60).max().unwrap_or(0);
    Ok(lines.iter().map(|(line, origin)| format!("{line:width$}  # {origin}\n")).collect())
}

/// The same for programs: `[{"key","value","origin"}]`.
pub fn as_json(loaded: &Loaded) -> Result<serde_json::Value> {
    let keys = flat(&loaded.config)?;
    let row = |(key, value): (&String, &Value)| {
        anyhow::Ok(json!({
            "key": key,
            "value": serde_json::to_value(value)?,
            "origin": loaded.layers.origin(key).to_string(),
        }))
    };
    keys.iter().map(row).collect::<Result<Vec<_>>>().map(serde_json::Value::Array)
}
