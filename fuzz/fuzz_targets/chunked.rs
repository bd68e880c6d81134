//! Any bytes as a chunked body: never a panic, the same data however they are cut, and what is passed on as chunks holds the
//! same data again.

#![no_main]

use lemonade_load_balancer::internals::{dechunk, rechunk};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (step, wire) = input;
    let whole = dechunk(wire, wire.len());
    assert_eq!(whole, dechunk(wire, usize::from(step)), "cut every {step} bytes");
    let forwarded = rechunk(wire, usize::from(step));
    assert_eq!(forwarded.is_some(), whole.is_some());
    if let Some(forwarded) = forwarded {
        assert_eq!(dechunk(&forwarded, forwarded.len()), whole, "what a backend reads");
    }
});
