//! What a verb gives, as a table, JSON or YAML.

use std::io::Write;
use std::process::ExitCode;

use clap::ValueEnum;
use flotilla_proto::admin::v1;
use serde_json::{Value, json};

use super::yaml;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
    Yaml,
}

/// Data for stdout, words for stderr.
#[derive(Debug)]
pub(crate) struct Output {
    pub(super) data: Data,
    pub(super) notes: Vec<String>,
}

#[derive(Debug)]
pub(super) enum Data {
    None,
    /// A secret or another line that stands alone.
    Line(String),
    One(Value),
    /// With a table of its own.
    Drawn(Value, String),
    /// The columns of the table; JSON and YAML hold everything.
    Many(&'static [&'static str], Vec<Value>),
}

impl Output {
    pub(super) fn one(value: Value) -> Output {
        Output { data: Data::One(value), notes: Vec::new() }
    }
    pub(super) fn many(columns: &'static [&'static str], rows: Vec<Value>) -> Output {
        Output { data: Data::Many(columns, rows), notes: Vec::new() }
    }
    /// A change without data of its own: what was done, at which index, and who has not confirmed it.
    pub(super) fn changed(what: &str, result: Option<v1::ChangeResult>) -> Output {
        let result = result.unwrap_or_default();
        let mut notes = vec![format!("{what} (log index {})", result.log_index)];
        for node in &result.unconfirmed_nodes {
            notes.push(format!(
                "node {node} has not confirmed the cut of its sessions: nothing of them is acknowledged there later than its lease, 6 s"
            ));
        }
        Output { data: Data::None, notes }
    }
    pub(crate) fn line(text: String) -> Output {
        Output { data: Data::Line(text), notes: Vec::new() }
    }
    /// Something was done that leaves no data.
    pub(crate) fn done(what: String) -> Output {
        Output { data: Data::None, notes: Some(what).filter(|what| !what.is_empty()).into_iter().collect() }
    }
    pub(crate) fn drawn(value: Value, table: String) -> Output {
        Output { data: Data::Drawn(value, table), notes: Vec::new() }
    }
    pub(super) fn noted(notes: Vec<String>) -> Output {
        Output { data: Data::None, notes }
    }
    pub(super) fn noting(mut self, note: &str) -> Output {
        self.notes.push(note.to_owned());
        self
    }
    pub(super) fn with(self, data: Data) -> Output {
        Output { data, ..self }
    }

    /// A reader that went away (`| head`) is no failure.
    pub(crate) fn print(self, format: Format) -> ExitCode {
        for note in &self.notes {
            eprintln!("{note}");
        }
        match std::io::stdout().lock().write_all(self.data.text(format).as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                eprintln!("flotilla: stdout: {error}");
                ExitCode::FAILURE
            }
            _ => ExitCode::SUCCESS,
        }
    }
}

impl Data {
    pub(super) fn text(&self, format: Format) -> String {
        let value = match self {
            Data::None => return String::new(),
            Data::Line(line) if format == Format::Table => return format!("{line}\n"),
            Data::Line(line) => json!(line),
            Data::One(value) if format == Format::Table => return fields(value),
            Data::Drawn(_, table) if format == Format::Table => return table.clone(),
            Data::One(value) | Data::Drawn(value, _) => value.clone(),
            Data::Many(columns, rows) if format == Format::Table => return table(columns, rows),
            Data::Many(_, rows) => Value::Array(rows.clone()),
        };
        match format {
            Format::Yaml => yaml::text(&value),
            Format::Json | Format::Table => format!("{value:#}\n"),
        }
    }
}

/// One line per field.
fn fields(value: &Value) -> String {
    let Value::Object(fields) = value else { return format!("{}\n", cell(value)) };
    let width = fields.keys().map(String::len).max().unwrap_or(0);
    fields.iter().map(|(name, value)| format!("{name:width$}  {}\n", cell(value))).collect()
}

fn table(columns: &[&str], rows: &[Value]) -> String {
    let head: Vec<String> = columns.iter().map(|column| column.to_uppercase()).collect();
    let body = rows.iter().map(|row| columns.iter().map(|column| cell(&row[*column])).collect());
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(body).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    lines.iter().map(line).collect()
}

/// Text as it is, but for what would move a terminal's cursor; the rest as JSON.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        other => other.to_string(),
    }
}
