//! Any bytes as a caller's `traceparent`: never a panic, and what is read of it is written as it was.

#![no_main]

use lemonade_load_balancer::internals::traceparent;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    let Some(line) = traceparent(value) else {
        return;
    };
    let written = line.strip_prefix(b"traceparent: 00-").unwrap();
    let written = written.strip_suffix(b"\r\n").unwrap();
    assert_eq!(written[..50], value[3..53], "both ids");
    assert_eq!(traceparent(&line[13..68]), Some(line));
});
