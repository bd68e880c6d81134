# Shortcuts; `just` lists them.

default:
    @just --list
