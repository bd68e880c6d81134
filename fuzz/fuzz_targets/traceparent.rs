//! Any bytes as a caller's `traceparent`: never a panic, and what is read of it is written as it was.

#![no_main]

use lemonade_load_balancer::internals::traceparent;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    let Some(written) = traceparent(value) else {
        return;
    };
    assert_eq!(&written[..3], b"00-");
    assert_eq!(written[3..53], value[3..53], "both ids");
    assert_eq!(traceparent(&written), Some(written));
});
