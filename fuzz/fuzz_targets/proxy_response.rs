//! Any bytes from a backend through a whole balancer, over real sockets: the client gets the answer that a second parser sees
//! in them, or a 502, or one that is visibly cut off; and the next answer is the next request's.

#![no_main]

mod bench;

use bench::Bench;
use lemonade_test::judge::Asking;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (asking, bytes) = input;
    let asking = Asking::ALL[usize::from(asking) % Asking::ALL.len()];
    let Bench { runtime, judge, app } = Bench::get();
    runtime.block_on(judge.judge_answer(app.listen(), bytes, asking));
});
