//! The figures that every process has, under the names that every Prometheus client gives them.

use super::{Family, Kind, Sample};
use crate::stats::names;
use lemonade_observability::process::usage;

/// Those that the system tells.
pub(super) fn read() -> Vec<Family> {
    let usage = usage();
    let figures = [
        (
            names::PROCESS_CPU,
            Kind::Counter,
            "Processor time in seconds, in user and kernel mode",
            usage.cpu.map(|cpu| cpu.as_secs_f64()),
        ),
        (
            names::PROCESS_MEMORY,
            Kind::Gauge,
            "Memory in RAM, in bytes",
            usage.resident_bytes.map(|bytes| bytes as f64),
        ),
        (
            names::PROCESS_DESCRIPTORS,
            Kind::Gauge,
            "Open file descriptors",
            usage.open_descriptors.map(|count| count as f64),
        ),
        (
            names::PROCESS_DESCRIPTORS_LIMIT,
            Kind::Gauge,
            "File descriptors that may be open at once",
            usage.descriptor_limit.map(|count| count as f64),
        ),
        (
            names::PROCESS_STARTED,
            Kind::Gauge,
            "When the process was started, in seconds since the Unix epoch",
            usage.started.map(|started| started.as_secs_f64()),
        ),
    ];
    let told = figures.into_iter().filter_map(|(name, kind, help, value)| {
        let sample = Sample::level(Vec::new(), value?);
        Some(Family::new(kind, name, help, vec![sample]))
    });
    told.collect()
}
