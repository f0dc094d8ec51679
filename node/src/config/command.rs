//! `flotilla config check|show|schema`.

use anyhow::Result;
use clap::Subcommand;

use super::problem::Problems;
use super::{Config, ConfigArgs, check, show};
use crate::cli::Output;

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Says what is wrong with it, where, and what to do; or that nothing is.
    Check(ConfigArgs),
    /// Shows what holds, and where each value comes from. Secrets stay in their files.
    Show(ConfigArgs),
    /// Prints the JSON Schema of the file.
    Schema,
}

pub fn run(command: ConfigCommand) -> Result<Output> {
    match command {
        ConfigCommand::Check(arguments) => {
            let loaded = arguments.load()?;
            let problems = check::files(&loaded.config, &loaded.layers);
            if !problems.is_empty() {
                return Err(Problems(problems).into());
            }
            Ok(Output::line(format!("{}: fine", arguments.config.display())))
        }
        ConfigCommand::Show(arguments) => {
            let loaded = arguments.load()?;
            Ok(Output::drawn(show::as_json(&loaded)?, show::as_toml(&loaded)?))
        }
        ConfigCommand::Schema => {
            let schema = schemars::schema_for!(Config).to_value();
            Ok(Output::drawn(schema.clone(), format!("{schema:#}\n")))
        }
    }
}
