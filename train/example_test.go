package train

import (
	"context"
	"fmt"
	"log"
	"os"
)

// A run without a folder trains in memory; its events tell how it goes.
func Example() {
	model := newBigram(13, 4) // any Objective; here a toy that predicts a token from the one before
	rows := newSequences(40, 13, 8, 4)
	result, err := Run(context.Background(), Job{
		Config:    Config{Steps: 60, LearningRate: 0.1, Scheduler: "cosine", WarmupSteps: 6, MaxGradNorm: 1, EvalSteps: 20},
		Params:    NewParams(model.params()),
		Objective: model,
		Source:    rows,
		Eval:      rows.eval(),
		Report: func(e Event) {
			if e.Kind == Evaluated {
				fmt.Printf("step %d of %d, best so far: %v\n", e.Step, e.TotalSteps, e.Best)
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("trained", result.Step, "steps, best at", result.Best.Step)
	// Output:
	// step 20 of 60, best so far: true
	// step 40 of 60, best so far: true
	// step 60 of 60, best so far: true
	// trained 60 steps, best at 60
}

// A run with a folder can be interrupted and resumed.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for range 2 {
		folder, err := Open(dir, Identity{Recipe: []byte("[train]\nmax_steps = 24\n"), BaseHash: "of the frozen checkpoint"}, Resume)
		if err != nil {
			log.Fatal(err)
		}
		ctx, interrupt := context.WithCancel(context.Background())
		model := newBigram(13, 4)
		job := toyJob(model)
		job.Folder, job.Save = folder, saveRaw(model)
		job.Report = func(e Event) {
			switch {
			case e.Kind == Resumed && e.Step > 0:
				fmt.Println("resumed from step", e.Step)
			case e.Kind == Stepped && e.Step == 10:
				interrupt() // as a signal would
			}
		}
		result, err := Run(ctx, job)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("step", result.Step, "of", result.TotalSteps, "interrupted:", result.Interrupted)
	}
	// Output:
	// step 10 of 24 interrupted: true
	// resumed from step 10
	// step 24 of 24 interrupted: false
}
