//! Any bytes from a client through a whole balancer, over real sockets: the backend gets the requests that a second parser
//! sees in them, and no others.

#![no_main]

mod bench;

use bench::Bench;
use lemonade_test::judge::Sending;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (step, closing, bytes) = input;
    // A step of 0: all at once.
    let step = match step {
        0..128 => usize::MAX,
        step => usize::from(step - 127),
    };
    let Bench { runtime, judge, app } = Bench::get();
    runtime.block_on(judge.judge_requests(app.listen(), bytes, Sending { step, closing }));
});
