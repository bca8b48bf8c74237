package main

func vectors(f *file) {}
