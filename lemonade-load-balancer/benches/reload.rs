//! What a change costs with 1,000 backends: reading the file again as a whole, and the control task's share of it, which is
//! what a change by hand costs.
//!
//! `cargo bench -p lemonade-load-balancer --bench reload`

#![expect(clippy::unwrap_used, reason = "a bench ends by panicking")]

use criterion::{Criterion, criterion_group, criterion_main};
use lemonade_load_balancer::app::{App, Start};
use lemonade_load_balancer::config::Inputs;
use lemonade_load_balancer::control::Order;
use std::path::Path;

const BACKENDS: u16 = 1000;

fn write(path: &Path, weight: u32) {
    let mut text = String::from("listen: 127.0.0.1:0\nadmin: off\nhealth: off\nbackends:\n");
    for port in 1..=BACKENDS {
        let weight = if port == 500 { weight } else { 1 };
        text.push_str(&format!(
            "- {{ name: w{port}, address: \"127.0.0.1:{port}\", weight: {weight} }}\n"
        ));
    }
    std::fs::write(path, text).unwrap();
}

fn reload(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lb.yaml");
    write(&path, 1);
    let inputs = Inputs {
        path: Some(path),
        ..Inputs::default()
    };
    let loaded = inputs.load().unwrap();
    let app = App::start(Start {
        config: loaded.config,
        ..Start::default()
    })
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let id = app.published().load().members[499].live.id.clone();

    criterion.bench_function("publish a change, 1000 backends", |bencher| {
        let mut weight = 1;
        bencher.iter(|| {
            weight = weight % 9 + 1;
            let order = Order::Weight(id.clone(), weight);
            runtime
                .block_on(app.operator().order(order, false))
                .unwrap()
        });
    });
    criterion.bench_function("read and check a file, 1000 backends", |bencher| {
        bencher.iter(|| inputs.load().unwrap());
    });
    runtime.block_on(app.shut_down(std::future::ready(())));
}

criterion_group!(benches, reload);
criterion_main!(benches);
