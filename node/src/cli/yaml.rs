//! JSON values as YAML in block style. Strings are quoted as JSON does, which is YAML too, so no word is ever taken for another type.

use serde_json::Value;

pub(super) fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out);
    out
}

fn write(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(depth, out);
                out.push('-');
                nested(item, depth + 1, out);
            }
        }
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                indent(depth, out);
                out.push_str(&key(name));
                out.push(':');
                nested(value, depth + 1, out);
            }
        }
        scalar => {
            out.push_str(&scalar.to_string());
            out.push('\n');
        }
    }
}

/// A collection on lines of its own, anything else behind a space.
fn nested(value: &Value, depth: usize, out: &mut String) {
    let is_block = match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => false,
    };
    out.push(if is_block { '\n' } else { ' ' });
    write(value, depth, out);
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Words that older readers take for a boolean or nothing.
const RESERVED: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// Our own field names are plain words; paths and the like are quoted.
fn key(name: &str) -> String {
    let is_word = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        && !RESERVED.contains(&name);
    if is_word { name.to_owned() } else { Value::from(name).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn nested_collections_are_indented_and_empty_ones_stay_on_the_line() {
        let value = json!([{"filters": {}, "no": "no", "permissions": {"/": ["*"]}, "uid": 5}]);
        let text = "-\n  filters: {}\n  \"no\": \"no\"\n  permissions:\n    \"/\":\n      - \"*\"\n  uid: 5\n";
        assert_eq!(super::text(&value), text);
    }
}
