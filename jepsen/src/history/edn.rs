//! Histories as EDN, for Knossos and Elle.

use std::io::Write;

use serde_json::Value;

use super::{Kind, Record};

/// Writes one map per record: `{:index 0 :type :invoke :f :W1.update :process 3 :time 12 :value …}`.
pub fn write_edn(records: &[Record], out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "[")?;
    for record in records {
        let kind = match record.kind {
            Kind::Invoke => ":invoke",
            Kind::Ok => ":ok",
            Kind::Fail => ":fail",
            Kind::Info => ":info",
        };
        let process = if record.process == 0 { ":nemesis".to_owned() } else { record.process.to_string() };
        writeln!(
            out,
            "{{:index {} :type {kind} :f {} :process {process} :time {} :value {}}}",
            record.index,
            keyword(&record.f),
            record.time,
            edn(&record.value)
        )?;
    }
    writeln!(out, "]")
}

/// A keyword holds letters, digits and a few marks only; a string otherwise.
fn keyword(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
    let starts = text.starts_with(|letter: char| letter.is_ascii_alphabetic());
    if starts && text.chars().all(plain) { format!(":{text}") } else { string(text) }
}

/// EDN strings know fewer escapes than JSON: what they have no escape for stands as itself.
fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn edn(value: &Value) -> String {
    match value {
        Value::Null => "nil".into(),
        Value::Bool(value) => value.to_string(),
        // Beyond 64 bits signed EDN wants a mark for arbitrary precision.
        Value::Number(number) if number.as_u64().is_some_and(|n| n > i64::MAX as u64) => format!("{number}N"),
        Value::Number(number) => number.to_string(),
        Value::String(text) => string(text),
        Value::Array(values) => format!("[{}]", values.iter().map(edn).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, value)| format!("{} {}", keyword(key), edn(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(" "))
        }
    }
}
