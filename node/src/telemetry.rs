//! JSON log lines with `sender`, `time`, `level`, and the metrics recorder.

mod line;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use arc_swap::ArcSwapOption;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::prelude::*;
use tracing_subscriber::reload::Handle;
use tracing_subscriber::{EnvFilter, Registry, reload};

use self::line::JsonLine;
use crate::config::LogSection;

/// The log of a running process: its level and file can be changed.
pub struct Logs {
    filter: Handle<EnvFilter, Registry>,
    output: Output,
}

/// A file that can be exchanged, standard error without one. A line is one write, which appends whole.
#[derive(Clone, Default)]
struct Output(Arc<ArcSwapOption<File>>);

impl Output {
    fn open(path: Option<&Path>) -> Result<Option<Arc<File>>> {
        let Some(path) = path else { return Ok(None) };
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Some(Arc::new(file.with_context(|| format!("log.file = {}", path.display()))?)))
    }
}

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &*self.0.load() {
            Some(file) => (&**file).write(line),
            None => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Checked and opened, not in use yet.
pub struct NextLog {
    filter: EnvFilter,
    file: Option<Arc<File>>,
}

impl Logs {
    /// Installs the log writer. Fields are flattened into the line: no nesting, no spans, no colour.
    pub fn init(log: &LogSection) -> Result<Logs> {
        let output = Output::default();
        output.0.store(Output::open(log.file.as_deref())?);
        let (filter, handle) = reload::Layer::new(filter(log)?);
        let writer = output.clone();
        let layer = tracing_subscriber::fmt::layer().event_format(JsonLine).with_writer(move || writer.clone());
        tracing_subscriber::registry().with(layer.with_filter(filter)).init();
        std::panic::set_hook(Box::new(|panic| {
            metrics::counter!("flotilla_panics_total").increment(1);
            tracing::error!(sender = "panic", message = %panic);
        }));
        Ok(Logs { filter: handle, output })
    }

    /// Another level; and the file is opened again, so that a rotated one is let go. Nothing changes before `replace`.
    pub fn prepare(&self, log: &LogSection) -> Result<NextLog> {
        Ok(NextLog { filter: filter(log)?, file: Output::open(log.file.as_deref())? })
    }

    pub fn replace(&self, next: NextLog) {
        self.output.0.store(next.file);
        // Fails only without the subscriber, which lives as long as the process.
        let _ = self.filter.reload(next.filter);
    }
}

/// A plain level is about our own lines: the engine's running commentary starts at warnings.
fn filter(log: &LogSection) -> Result<EnvFilter> {
    let plain = !log.level.contains(['=', ',']) && log.level != "debug" && log.level != "trace";
    let directives = if plain { format!("{},openraft=warn", log.level) } else { log.level.clone() };
    EnvFilter::try_new(directives).with_context(|| format!("log.level = {:?}", log.level))
}

/// Installs the recorder; the handle renders `/metrics`.
pub fn init_metrics() -> Result<PrometheusHandle> {
    PrometheusBuilder::new().install_recorder().context("installing the metrics recorder")
}
