//! A user's fields as options; what is given is set, and named in the mask of an update.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use flotilla_proto::admin::v1;

use super::failure::Failure;
use super::size;

#[derive(Args, Clone, Debug, Default)]
pub struct UserFields {
    /// Absolute, under one of the storages. Default: below the first storage, named like the user.
    #[arg(long)]
    home_dir: Option<String>,
    /// Sessions at one time in the whole cluster; 0 = unlimited.
    #[arg(long)]
    max_sessions: Option<u32>,
    /// Bytes, or with a unit: 10MiB; 0 = unlimited.
    #[arg(long, value_parser = size::parse)]
    quota_size: Option<u64>,
    /// Files and symlinks; 0 = unlimited.
    #[arg(long)]
    quota_files: Option<u64>,
    /// PATH=PERMISSION,…: repeat for more folders; "/" must be among them.
    #[arg(long = "permission", value_name = "PATH=PERMISSIONS")]
    permissions: Vec<String>,
    /// File of public keys, one a line, as authorized_keys; repeat for more. Replaces the keys there are.
    #[arg(long = "key-file", value_name = "FILE")]
    key_files: Vec<PathBuf>,
    /// KB/s; 0 = unlimited.
    #[arg(long)]
    upload_bandwidth: Option<u64>,
    /// KB/s; 0 = unlimited.
    #[arg(long)]
    download_bandwidth: Option<u64>,
    /// Milliseconds since 1970-01-01 UTC; 0 = never.
    #[arg(long)]
    expiration_date: Option<u64>,
    #[arg(long)]
    uid: Option<u32>,
    #[arg(long)]
    gid: Option<u32>,
    #[command(flatten)]
    filters: FilterFields,
    #[arg(long)]
    email: Option<String>,
    #[arg(long)]
    description: Option<String>,
    #[arg(long)]
    additional_info: Option<String>,
}

#[derive(Args, Clone, Debug, Default)]
struct FilterFields {
    /// Address or network, 192.0.2.0/24; repeat for more. Any of these options replaces all filters.
    #[arg(long)]
    allowed_ip: Vec<String>,
    #[arg(long)]
    denied_ip: Vec<String>,
    /// password or publickey.
    #[arg(long)]
    denied_login_method: Vec<String>,
    /// SSH, FTP or HTTP.
    #[arg(long)]
    denied_protocol: Vec<String>,
    /// Bytes, or with a unit; 0 = no limit.
    #[arg(long, value_parser = size::parse)]
    max_upload_file_size: Option<u64>,
}

impl UserFields {
    /// Sets what was given and names it in the mask.
    pub(super) fn apply(self, user: &mut v1::User, mask: &mut Vec<String>) -> Result<(), Failure> {
        let mut set = Set { mask };
        set.field("home_dir", self.home_dir, &mut user.home_dir);
        set.field("max_sessions", self.max_sessions, &mut user.max_sessions);
        set.field("quota_size", self.quota_size, &mut user.quota_size);
        set.field("quota_files", self.quota_files, &mut user.quota_files);
        set.field("upload_bandwidth", self.upload_bandwidth, &mut user.upload_bandwidth);
        set.field("download_bandwidth", self.download_bandwidth, &mut user.download_bandwidth);
        set.field("expiration_date", self.expiration_date, &mut user.expiration_date);
        set.field("uid", self.uid, &mut user.uid);
        set.field("gid", self.gid, &mut user.gid);
        set.field("email", self.email, &mut user.email);
        set.field("description", self.description, &mut user.description);
        set.field("additional_info", self.additional_info, &mut user.additional_info);
        set.field("permissions", permissions(&self.permissions)?, &mut user.permissions);
        set.field("public_keys", keys(&self.key_files)?, &mut user.public_keys);
        set.field("filters", self.filters.wire().map(Some), &mut user.filters);
        Ok(())
    }
}

struct Set<'a> {
    mask: &'a mut Vec<String>,
}

impl Set<'_> {
    fn field<T>(&mut self, name: &str, given: Option<T>, into: &mut T) {
        if let Some(value) = given {
            *into = value;
            self.mask.push(name.to_owned());
        }
    }
}

impl FilterFields {
    fn wire(self) -> Option<v1::Filters> {
        let filters = v1::Filters {
            allowed_ip: self.allowed_ip,
            denied_ip: self.denied_ip,
            denied_login_methods: self.denied_login_method,
            denied_protocols: self.denied_protocol,
            max_upload_file_size: self.max_upload_file_size.unwrap_or(0),
        };
        (filters != v1::Filters::default() || self.max_upload_file_size.is_some()).then_some(filters)
    }
}

fn permissions(given: &[String]) -> Result<Option<BTreeMap<String, v1::Permissions>>, Failure> {
    let parse = |text: &String| {
        let (path, names) = text.split_once('=').ok_or_else(|| {
            Failure::usage(format!("--permission {text:?}: not PATH=PERMISSIONS, for example /=list,download"))
        })?;
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Ok((path.to_owned(), v1::Permissions { names }))
    };
    if given.is_empty() {
        return Ok(None);
    }
    given.iter().map(parse).collect::<Result<_, _>>().map(Some)
}

fn keys(files: &[PathBuf]) -> Result<Option<Vec<String>>, Failure> {
    if files.is_empty() {
        return Ok(None);
    }
    let mut keys = Vec::new();
    for file in files {
        keys.extend(key_lines(file)?);
    }
    Ok(Some(keys))
}

/// Lines of an `authorized_keys` file without comments and blank ones.
pub(super) fn key_lines(file: &Path) -> Result<Vec<String>, Failure> {
    let bad = |why: String| Failure::usage(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| bad(error.to_string()))?;
    if text.contains("PRIVATE KEY") {
        return Err(bad("this is a private key; the public one is in the file with .pub".to_owned()));
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    if lines.is_empty() { Err(bad("it holds no key".to_owned())) } else { Ok(lines) }
}
