//! Any bytes as a chunked body: never a panic, and the same data however they are cut.

#![no_main]

use lemonade_load_balancer::internals::dechunk;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (step, wire) = input;
    let whole = dechunk(wire, wire.len());
    let cut = dechunk(wire, usize::from(step));
    if let (Some(whole), Some(cut)) = (&whole, &cut) {
        assert_eq!(whole, cut);
    }
    assert_eq!(whole.is_some(), cut.is_some());
});
