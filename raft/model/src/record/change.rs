//! What a change did to a record's fields, for the history: values as JSON text, bounded, secrets redacted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Filters, MemberOf, Membership, Mount, Name, Permission, Root, Status, Username};

/// Bytes of a shown value.
const LONGEST: usize = 512;
const REDACTED: &str = "\"[redacted";

/// One field before and after. Empty: the record was not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    pub field: String,
    pub before: String,
    pub after: String,
}

/// Fields of a record with their shown values. Only `changes` reads them: secrets are still in there.
pub(crate) type Fields = Vec<(&'static str, String)>;

/// What tells `after` from `before`; of a new or deleted record, what is set.
pub(crate) fn changes(before: Option<&Fields>, after: Option<&Fields>) -> Vec<FieldChange> {
    let value = |fields: Option<&Fields>, at: usize| fields.map_or_else(String::new, |fields| fields[at].1.clone());
    let named = before.or(after).into_iter().flatten().enumerate();
    let rows = named.map(|(at, (field, _))| (field, value(before, at), value(after, at)));
    let told = rows.filter(|(_, before, after)| before != after && !(is_unset(before) && is_unset(after)));
    told.map(|(field, before, after)| FieldChange {
        field: (*field).to_owned(),
        before: shortened(before),
        after: shortened(after),
    })
    .collect()
}

/// Whether a shown value is what nobody set.
fn is_unset(shown: &str) -> bool {
    matches!(shown, "" | "0" | "\"\"" | "[]" | "{}" | "null" | "false")
}

fn shortened(text: String) -> String {
    if text.starts_with(REDACTED) {
        return format!("{REDACTED}]\"");
    }
    if text.len() <= LONGEST {
        return text;
    }
    format!("{}…", &text[..text.floor_char_boundary(LONGEST)])
}

/// A secret for `changes`, which tells two of them apart and shows neither.
pub(crate) fn secret(hash: &Option<String>) -> String {
    hash.as_ref().map_or_else(|| "null".to_owned(), |hash| format!("{REDACTED} {hash}"))
}

/// A value as JSON text.
pub(crate) trait Shown {
    fn shown(&self) -> String;
}

macro_rules! plain {
    ($($kind:ty),+) => {
        $(impl Shown for $kind {
            fn shown(&self) -> String {
                self.to_string()
            }
        })+
    };
}
plain!(bool, u32, u64, i64);

impl Shown for str {
    fn shown(&self) -> String {
        let mut text = String::with_capacity(self.len() + 2);
        text.push('"');
        for letter in self.chars() {
            match letter {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                other if other.is_control() => text.push_str(&format!("\\u{:04x}", other as u32)),
                other => text.push(other),
            }
        }
        text.push('"');
        text
    }
}

impl Shown for String {
    fn shown(&self) -> String {
        self.as_str().shown()
    }
}

impl Shown for Name {
    fn shown(&self) -> String {
        self.as_str().shown()
    }
}

impl Shown for Username {
    fn shown(&self) -> String {
        self.as_str().shown()
    }
}

impl Shown for Root {
    fn shown(&self) -> String {
        self.to_string().shown()
    }
}

impl Shown for Permission {
    fn shown(&self) -> String {
        self.name().shown()
    }
}

impl Shown for Status {
    fn shown(&self) -> String {
        u32::from(*self == Status::Enabled).shown()
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| "null".to_owned(), Shown::shown)
    }
}

impl<T: Shown> Shown for Vec<T> {
    fn shown(&self) -> String {
        let items: Vec<String> = self.iter().map(Shown::shown).collect();
        format!("[{}]", items.join(","))
    }
}

impl<K: Shown, V: Shown> Shown for BTreeMap<K, V> {
    fn shown(&self) -> String {
        let items: Vec<String> = self.iter().map(|(key, value)| format!("{}:{}", key.shown(), value.shown())).collect();
        format!("{{{}}}", items.join(","))
    }
}

impl Shown for Filters {
    fn shown(&self) -> String {
        let lists = [
            ("allowed_ip", self.allowed_ip.shown()),
            ("denied_ip", self.denied_ip.shown()),
            ("denied_login_methods", self.denied_login_methods.shown()),
            ("denied_protocols", self.denied_protocols.shown()),
            ("max_upload_file_size", self.max_upload_file_size.shown()),
        ];
        object(lists)
    }
}

impl Shown for MemberOf {
    fn shown(&self) -> String {
        let kind = match self.membership {
            Membership::Primary => 1_u32,
            Membership::Secondary => 2,
            Membership::Plain => 3,
        };
        object([("name", self.group.shown()), ("type", kind.shown())])
    }
}

impl Shown for Mount {
    fn shown(&self) -> String {
        object([
            ("name", self.folder.shown()),
            ("virtual_path", self.virtual_path.shown()),
            ("quota_size", self.quota_size.shown()),
            ("quota_files", self.quota_files.shown()),
        ])
    }
}

/// The fields that are set.
fn object<const N: usize>(fields: [(&str, String); N]) -> String {
    let set = fields.iter().filter(|(_, value)| !is_unset(value));
    let items: Vec<String> = set.map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", items.join(","))
}
