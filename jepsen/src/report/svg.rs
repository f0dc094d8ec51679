//! The little of SVG that the charts need.

use crate::check::judge::Disturbance;

/// Width of every chart, and of the margin at its left for labels.
pub const WIDTH: f64 = 1200.0;
pub const LEFT: f64 = 90.0;

/// Time from left to right, nanoseconds.
#[derive(Clone, Copy)]
pub struct Axis {
    pub from: u64,
    pub to: u64,
}

impl Axis {
    pub fn x(self, at: u64) -> f64 {
        let at = at.clamp(self.from, self.to) - self.from;
        LEFT + at as f64 / (self.to - self.from).max(1) as f64 * (WIDTH - LEFT)
    }
    /// About ten marks at round seconds.
    fn marks(self) -> Vec<u64> {
        let span = (self.to - self.from) as f64 / 1e9;
        let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];
        let step = steps.into_iter().find(|step| span / step <= 14.0).unwrap_or(1200.0);
        let first = (self.from as f64 / 1e9 / step).ceil() as u64;
        (first..).map(|number| (number as f64 * step * 1e9) as u64).take_while(|at| *at <= self.to).collect()
    }
}

/// A chart with its bands behind it and the time below.
pub fn chart(height: f64, axis: Axis, bands: &str, content: &str) -> String {
    let total = height + 18.0;
    let mut text = format!("<svg width={WIDTH} height={total} viewBox=\"0 0 {WIDTH} {total}\">");
    text += &format!("<g transform=\"scale(1 {height})\">{bands}</g>{content}");
    for at in axis.marks() {
        let x = axis.x(at);
        text += &format!("<line x1={x:.1} x2={x:.1} y1=0 y2={height} stroke=#0001 />");
        text +=
            &format!("<text x={x:.1} y={:.1} text-anchor=middle fill=#666>{} s</text>", height + 13.0, at as f64 / 1e9);
    }
    text + "</svg>"
}

/// The times of faults, one unit high, in the colours that readers of Jepsen's plots know.
pub fn bands(faults: &[Disturbance], axis: Axis) -> String {
    let band = |fault: &Disturbance| {
        let (x, to) = (axis.x(fault.from), axis.x(fault.to));
        let (width, colour) = ((to - x).max(1.0), colour(&fault.name));
        format!("<rect x={x:.1} y=0 width={width:.1} height=1 fill={colour} fill-opacity=.35 />")
    };
    faults.iter().map(band).collect()
}

pub fn colour(fault: &str) -> &'static str {
    match fault {
        "kill" | "kill-all" | "fast-restart" => "#E9A4A0",
        "pause" | "pause-holder" => "#A0B1E9",
        "partition" | "clients-only" => "#E9DCA0",
        "loss" => "#D1E8A0",
        "recover" => "#A0E9B0",
        _ => "#A0E9E3",
    }
}

pub fn rect(x: f64, y: f64, width: f64, height: f64, fill: &str, title: &str) -> String {
    let title = if title.is_empty() { String::new() } else { format!("<title>{}</title>", escape(title)) };
    format!("<rect x={x:.1} y={y:.1} width={:.1} height={height:.1} fill={fill}>{title}</rect>", width.max(0.6))
}

pub fn label(y: f64, text: &str) -> String {
    format!("<text x=0 y={y:.1} fill=#444>{}</text>", escape(text))
}

/// A line through points.
pub fn line(points: &[(f64, f64)], stroke: &str) -> String {
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    format!("<polyline points=\"{}\" fill=none stroke={stroke} stroke-width=1.2 />", points.join(" "))
}

/// A level across the whole chart, for limits.
pub fn level(y: f64, stroke: &str) -> String {
    format!("<line x1={LEFT} x2={WIDTH} y1={y:.1} y2={y:.1} stroke={stroke} stroke-dasharray=\"6 3\" />")
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
