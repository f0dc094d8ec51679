//! JSON log lines with `sender`, `time`, `level`, and the metrics recorder.

use std::fs::OpenOptions;
use std::sync::Mutex;

use anyhow::{Context, Result};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::prelude::*;

use crate::config::LogSection;

/// Installs the log writer. Fields are flattened into the line: no nesting, no spans, no colour.
pub fn init_logs(log: &LogSection) -> Result<()> {
    // A plain level is about our own lines: the engine's running commentary starts at warnings.
    let plain = !log.level.contains(['=', ',']) && log.level != "debug" && log.level != "trace";
    let directives = if plain { format!("{},openraft=warn", log.level) } else { log.level.clone() };
    let filter = EnvFilter::try_new(directives).with_context(|| format!("log.level = {:?}", log.level))?;
    let layer = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(false)
        .with_timer(SystemTime);
    match &log.file {
        Some(path) => {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("log.file = {}", path.display()))?;
            tracing_subscriber::registry().with(layer.with_writer(Mutex::new(file)).with_filter(filter)).init();
        }
        None => tracing_subscriber::registry().with(layer.with_writer(std::io::stderr).with_filter(filter)).init(),
    }
    std::panic::set_hook(Box::new(|panic| {
        metrics::counter!("flotilla_panics_total").increment(1);
        tracing::error!(sender = "panic", message = %panic);
    }));
    Ok(())
}

/// Installs the recorder; the handle renders `/metrics`.
pub fn init_metrics() -> Result<PrometheusHandle> {
    PrometheusBuilder::new().install_recorder().context("installing the metrics recorder")
}
