//! Layers, their origins, and what is said of mistakes.

use super::*;

const MINIMAL: &str = r#"[node]
id = 1
data = "/var/lib/flotilla"
name = "n1"
[peers]
cluster_id = "c"
listen = "127.0.0.1:8082"
advertise = "127.0.0.1:8082"
certificate_hours = 9
[peers.routes]
2 = "10.0.0.2:8082"
3 = "10.0.0.3:8082"
4 = "10.0.0.4:8082"
5 = "10.0.0.5:8082"
6 = "10.0.0.6:8082"
[[storage]]
name = "files"
path = "/srv/files"
"#;

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(text: &str) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.write("flotilla.toml", text);
        folder
    }
    fn write(&self, name: &str, text: &str) {
        let file = self.0.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    fn load(&self, environment: &[(&str, &str)], flags: &[&str]) -> Result<Loaded> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        super::load(&self.0.path().join("flotilla.toml"), environment, &flags)
    }
    fn error(&self) -> String {
        format!("{:#}", self.load(&[], &[]).unwrap_err())
    }
}

/// What is said of the file, without the folder's name.
fn said(text: &str) -> String {
    let folder = Folder::with(text);
    folder.error().replace(&format!("{}/", folder.0.path().display()), "")
}

#[test]
fn minimal_file_is_enough() {
    let config = Folder::with(MINIMAL).load(&[], &[]).unwrap().config;
    assert_eq!(config.sftp.durability, Durability::Close);
    assert_eq!(config.admin.listen.port(), 8080);
}

#[test]
fn unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    let text = MINIMAL.replace("id = 1\n", "id = 1\nidd = 2\n");
    assert_eq!(said(&text), "flotilla.toml:3: node.idd: unknown key: did you mean `id`?");
    let text = format!("{MINIMAL}[log]\ncolour = true\n");
    assert_eq!(said(&text), "flotilla.toml:20: log.colour: unknown key: remove it; known here: level, file");
}

#[test]
fn unknown_key_in_a_list_is_named_with_its_place() {
    let text = format!("{MINIMAL}paht = \"/x\"\n");
    assert_eq!(said(&text), "flotilla.toml:19: storage[0].paht: unknown key: did you mean `path`?");
}

#[test]
fn missing_key_is_named_with_its_section() {
    let text = MINIMAL.replace("data = \"/var/lib/flotilla\"\n", "");
    assert_eq!(said(&text), "flotilla.toml:1: node.data: missing: add `data = …` to [node]");
}

#[test]
fn value_of_a_wrong_kind_is_named_with_what_was_expected() {
    let text = format!("{MINIMAL}[sftp]\nmax_connections = \"many\"\n");
    let said = said(&text);
    assert!(said.starts_with("flotilla.toml:20: sftp.max_connections: invalid type: string \"many\""), "{said}");
    let text = MINIMAL.replace("listen = \"127.0.0.1:8082\"", "listen = \"nowhere\"");
    let said = self::said(&text);
    assert!(said.starts_with("flotilla.toml:7: peers.listen:") && said.contains("address"), "{said}");
}

#[test]
fn where_a_table_belongs_it_is_asked_for_in_the_files_own_words() {
    let text = said(&format!("{MINIMAL}[sftp]\nlisten = [\"127.0.0.1:2022\"]\n"));
    assert!(text.starts_with("flotilla.toml:20: sftp.listen[0]: invalid type: string \"127.0.0.1:2022\""), "{text}");
    assert!(text.contains("expected a table such as { address = \"0.0.0.0:2022\" }"), "{text}");
    let text = said(&format!("log = 3\n{MINIMAL}"));
    assert!(text.contains("log: invalid type: integer `3`, expected a table of keys"), "{text}");
}

#[test]
fn broken_toml_is_named_with_its_line() {
    let said = said(&MINIMAL.replace("id = 1", "id = "));
    assert!(said.starts_with("flotilla.toml:2: not valid TOML"), "{said}");
}

#[test]
fn all_wrong_values_are_named_at_once() {
    let text = format!(
        "{}[sftp]\ntrusted_proxies = [\"10.0.0.0/8\", \"proxy\"]\nmax_connections = 0\n[admin]\nlisten = \"0.0.0.0:8080\"\n",
        MINIMAL.replace("/srv/files", "srv/files")
    );
    let said = said(&text);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 4, "{said}");
    assert_eq!(lines[0], "flotilla.toml:18: storage[0].path: srv/files is not absolute: begin it with /");
    assert!(lines[1].starts_with("flotilla.toml:20: sftp.trusted_proxies[1]: \"proxy\""), "{said}");
    assert!(lines[2].starts_with("flotilla.toml:21: sftp.max_connections: 0 admits nobody"), "{said}");
    assert!(lines[3].starts_with("flotilla.toml:23: admin.listen: 0.0.0.0:8080 is not loopback"), "{said}");
    assert!(lines[3].contains("[admin.tls]"), "{said}");
}

#[test]
fn listeners_on_one_port_are_named() {
    let said = said(&format!("{MINIMAL}[health]\nlisten = \"127.0.0.1:8080\"\n"));
    assert!(said.contains("health.listen: 127.0.0.1:8080 is admin.listen, too"), "{said}");
}

#[test]
fn key_without_its_certificate_is_named() {
    let said = said(&format!("{MINIMAL}[admin.tls]\nkey_file = \"x\"\nrequire_client_certificate = true\n"));
    assert!(said.contains("admin.tls.certificate_file: missing beside key_file"), "{said}");
    assert!(said.contains("admin.tls.client_ca_file: missing"), "{said}");
}

#[test]
fn later_layers_win_and_every_value_knows_its_origin() {
    let folder = Folder::with(&format!("{MINIMAL}[log]\nlevel = \"warn\"\n[sftp]\nmax_connections = 1\n"));
    folder.write("conf.d/20.toml", "[sftp]\nmax_connections = 3\nlogin_grace_seconds = 9\n");
    folder.write("conf.d/10.toml", "[sftp]\nmax_connections = 2\n[[storage]]\nname = \"other\"\npath = \"/other\"\n");
    folder.write("conf.d/README", "no configuration");
    let loaded = folder
        .load(
            &[("FLOTILLA_LOG__LEVEL", "debug"), ("FLOTILLA_SFTP__LOGIN_GRACE_SECONDS", "10")],
            &["sftp.login_grace_seconds=11"],
        )
        .unwrap();
    let config = &loaded.config;
    assert_eq!((config.sftp.max_connections, config.sftp.login_grace_seconds), (3, 11));
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.storage.len(), 1, "a list replaces a list");
    let at = |name: &str, line| Origin::File(folder.0.path().join(name), line);
    assert_eq!(loaded.layers.origin("node.id"), at("flotilla.toml", 2));
    assert_eq!(loaded.layers.origin("sftp.max_connections"), at("conf.d/20.toml", 2));
    assert_eq!(loaded.layers.origin("storage"), at("conf.d/10.toml", 3));
    assert_eq!(loaded.layers.origin("storage[0].path"), at("conf.d/10.toml", 5));
    assert_eq!(loaded.layers.origin("log.level"), Origin::Environment("FLOTILLA_LOG__LEVEL".into()));
    assert_eq!(loaded.layers.origin("sftp.login_grace_seconds"), Origin::Flag("sftp.login_grace_seconds=11".into()));
    assert_eq!(loaded.layers.origin("admin.listen"), Origin::Default);
}

#[test]
fn what_is_shown_reads_back_as_the_same_configuration() {
    let folder = Folder::with(&format!("{MINIMAL}[sftp]\nlisten = [{{ address = \"127.0.0.1:2022\" }}]\n"));
    let loaded = folder.load(&[("FLOTILLA_LOG__LEVEL", "debug")], &[]).unwrap();
    let shown = show::as_toml(&loaded).unwrap();
    assert!(shown.lines().any(|line| line.starts_with("node.id = 1 ") && line.ends_with("flotilla.toml:2")), "{shown}");
    assert!(
        shown
            .lines()
            .any(|line| line.starts_with("log.level = ") && line.ends_with("# environment FLOTILLA_LOG__LEVEL"))
    );
    assert!(shown.lines().any(|line| line.starts_with("admin.listen = ") && line.ends_with("# default")));
    let again = Folder::with(&shown).load(&[], &[]).unwrap();
    assert_eq!(flat(&again.config).unwrap(), flat(&loaded.config).unwrap());
}

#[test]
fn environment_and_flags_are_checked_like_files() {
    let folder = Folder::with(MINIMAL);
    let error = format!("{:#}", folder.load(&[("FLOTILLA_LOG__LEVLE", "debug")], &[]).unwrap_err());
    assert_eq!(error, "environment FLOTILLA_LOG__LEVLE: log.levle: unknown key: did you mean `level`?");
    let error = format!("{:#}", folder.load(&[], &["sftp.max_connections=x"]).unwrap_err());
    assert!(error.starts_with("flag --set sftp.max_connections=x: sftp.max_connections: invalid type"), "{error}");
    assert!(folder.load(&[], &["level"]).is_err());
    assert!(folder.load(&[("FLOTILLA___X", "1")], &[]).is_err());
}

#[test]
fn schema_knows_every_key_and_secrets_are_only_named_by_files() {
    let schema = schemars::schema_for!(Config).to_value();
    let mut keys = Vec::new();
    properties(&schema, &mut keys);
    for key in ["certificate_hours", "trusted_proxies", "proxy_protocol", "client_ca_file", "durability"] {
        assert!(keys.iter().any(|known| known == key), "{key} is missing: {keys:?}");
    }
    for key in &keys {
        let secret = ["key", "secret", "password", "token"].iter().any(|word| key.contains(word));
        assert!(!secret || key.ends_with("_file"), "{key} would put a secret into the configuration");
    }
    assert_eq!(schema["additionalProperties"], false, "unknown keys are refused there, too");
}

fn properties(value: &serde_json::Value, keys: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, inner) in fields {
                if name == "properties"
                    && let Some(inner) = inner.as_object()
                {
                    keys.extend(inner.keys().cloned());
                }
                properties(inner, keys);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| properties(item, keys)),
        _ => {}
    }
}

#[test]
fn secret_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::with(MINIMAL);
    folder.write("node.key", "secret");
    let file = folder.0.path().join("node.key");
    let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let error = format!("{:#}", secret_file::read("peers.key_file", &file).unwrap_err());
    assert!(error.contains("peers.key_file") && error.contains("chmod 600") || error.contains("chmod 0600"), "{error}");
    mode(0o600);
    assert_eq!(secret_file::read("peers.key_file", &file).unwrap(), "secret");
    let missing = format!("{:#}", secret_file::read("peers.key_file", &folder.0.path().join("none")).unwrap_err());
    assert!(missing.contains("peers.key_file") && missing.contains("none"), "{missing}");
}
