package corpus

import (
	"fmt"
	"strings"
)

// Kinds of text, and how often each is drawn.
var Kinds = []Kind{
	{"story", 6, story},
	{"place", 5, placeText},
	{"dialogue", 3, dialogue},
	{"facts", 3, facts},
	{"sums", 2, sums},
	{"weather", 2, weather},
	{"howto", 2, howTo},
	{"letter", 2, letter},
	{"list", 1, list},
	{"record", 6, record},
	{"form", 6, form},
	{"echo", 3, echo},
	{"recital", 5, recital},
}

var (
	openings = []string{
		"{time}, {person} the {trade} went to the {place}.",
		"{time}, a {size} {colour} {animal} sat near the {place}.",
		"{person} was a {trade} who lived beside the {place}.",
		"There was once a {trade} named {person}, who had a {size} {animal}.",
		"{person} and {person.2} walked to the {place} with a {size} {thing}.",
	}
	middles = []string{
		"{person} was looking for a {colour.2} {thing}.",
		"The {animal} was {mood} and did not move.",
		"There was {weather} all day, and the {place} was empty.",
		"{person} {verb} the {thing} {spot}.",
		"Then {person.2} came along with some {taste} {food}.",
		"\"Have you seen my {thing}?\" asked {person}.",
		"\"I must {work} first,\" said {person.2}.",
		"The {animal} {feeling.2} as if it knew the answer, and {person} {feeling}.",
		"{person.2} gave the {animal} a bit of {food}.",
		"They looked {spot} and found only an old {thing.2}.",
		"It was {season}, and the sky was {sky}.",
		"Nobody knew where the {thing} had come from.",
		"\"Welcome!\" said {person.2}. \"What a {size} {thing}!\"",
		"{person.2} welcomes {person} and asks for the name of the {animal}.",
		"Oh, how {taste} the {food} was!",
	}
	endings = []string{
		"In the end {person} was {mood.2}, and they shared the {food}.",
		"So the {thing} stayed {spot.2}, and everybody went home.",
		"From that day on {person} and the {animal} were friends.",
		"{person} {feeling}, closed the door and drank some {drink}.",
		"That is why the {place} has a {colour.2} {thing} to this day.",
	}
)

func story(g *Generator) string {
	s := g.scene()
	return s.pick(openings) + " " + s.several(g.between(2, 5), middles) + " " + s.pick(endings)
}

var placeLines = []string{
	"It lies near the {place}.",
	"You find it close to the {place}.",
	"The {food} there is {taste}.",
	"Its {food} is {taste}, and the price is {price}.",
	"Many {guests} go there for the {food}.",
	"{Guests} like the {air} rooms.",
	"In {season} the tables stand outside.",
	"The prices are {price}.",
	"They also serve {drink}.",
	"{person} the {trade} eats there on {day}.",
}

func placeText(g *Generator) string {
	s := g.scene()
	first := s.pick([]string{
		"The {inn} is a {kind} with {taste} {food}.",
		"The {inn} is a {air} {kind} near the {place}.",
		"Near the {place} stands the {inn}, a {air} {kind}.",
		"If you want {taste} {food}, go to the {inn}, a {kind} by the {place}.",
		"At the {inn} you can eat {taste} {food} at a {price} price.",
	})
	return first + " " + s.several(g.between(1, 4), placeLines)
}

func dialogue(g *Generator) string {
	s := g.scene()
	ask := []string{
		"Where is the {colour} {thing}?", "What will you eat today?", "How is the weather at the {place}?",
		"Did you see the {size} {animal}?", "Who can {work}?", "Shall we go to the {inn}?", "Why are you so {mood}?",
		"Is this the {inn}?", "What kind of {food} do you like?",
	}
	answer := []string{
		"It is {spot}.", "Some {taste} {food}, please.", "There is {weather}, and the sky is {sky}.",
		"Yes, it was near the {place}.", "I can do it on {day}.", "Gladly, the {food} there is {taste}.", "Because I found my {thing}.",
		"Yes, welcome to the {inn}!", "I like the taste of {taste} {food}!",
	}
	var b strings.Builder
	for i, n := range g.rng.Perm(len(ask))[:g.between(1, 3)] {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(s.fill("{person}: " + ask[n] + "\n{person.2}: " + answer[n]))
	}
	return b.String()
}

func facts(g *Generator) string {
	s := g.scene()
	return s.pick([]string{
		"The {thing} is {spot}. Where is the {thing}? It is {spot}.",
		"{person} has a {colour} {thing}, and {person.2} has a {colour.2} {thing.2}. Who has the {thing.2}? {person.2} has it.",
		"{person} is a {trade}. {person.2} is a {trade.2}. Who is the {trade}? {person} is the {trade}.",
		"The {animal} is {size} and {colour}. What colour is the {animal}? The {animal} is {colour}.",
		"On {day} they eat {food}. On {day.2} they eat {food.2}. What do they eat on {day.2}? They eat {food.2}.",
		"The {inn} serves {food}. The {inn.2} serves {food.2}. Where do you get {food}? At the {inn}.",
		"{person} went to the {place}, and {person.2} went to the {place.2}. Where did {person.2} go? To the {place.2}.",
	})
}

var numbers = strings.Fields("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen")

func sums(g *Generator) string {
	s := g.scene()
	a, b := g.between(1, 9), g.between(1, 9)
	word := func(n int) string { return numbers[n] }
	switch g.rng.IntN(4) {
	case 0:
		return s.fill(fmt.Sprintf("{person} has %s coins and finds %s more. Now {person} has %s coins.", word(a), word(b), word(a+b)))
	case 1:
		return s.fill(fmt.Sprintf("%d plus %d is %d, and %d minus %d is %d.", a, b, a+b, a+b, b, a))
	case 2:
		return s.fill(fmt.Sprintf("There were %s candles. {person} took %s of them, so %s were left.", word(a+b), word(b), word(a)))
	}
	return s.fill(fmt.Sprintf("{person} counts: %s, %s, %s, %s.", word(a), word(a+1), word(a+2), word(a+3)))
}

func weather(g *Generator) string {
	s := g.scene()
	return s.pick([]string{
		"Weather for {day}: the morning is {sky}, with {weather} near the {place}. In the evening expect {weather.2}.",
		"In {season} there is often {weather}. People at the {place} then drink {drink}.",
		"{day} begins {sky}. After noon there will be {weather}, and the night stays {sky.2}.",
	})
}

func howTo(g *Generator) string {
	s := g.scene()
	steps := []string{
		"Wash the {food}.", "Cut the {food} into pieces.", "Put the pot on the stove.", "Add some {food.2}.",
		"Stir slowly with a spoon.", "Wait until it smells {taste}.", "Pour in a little {drink}.", "Serve it warm with {food.3}.",
	}
	var b strings.Builder
	b.WriteString(s.fill("How to cook {food} with {food.2}:"))
	from := g.between(0, 2)
	for i, step := range steps[from : from+g.between(4, 6)] {
		fmt.Fprintf(&b, "\n%d. %s", i+1, s.fill(step))
	}
	return b.String()
}

func letter(g *Generator) string {
	s := g.scene()
	lines := []string{
		"I hope you are {mood}.", "Here at the {place} we have {weather}.", "The {animal} is well and eats {food} every day.",
		"Please bring the {colour} {thing} when you come.", "On {day} I have to {work}.", "Yesterday we ate {food.2} at the {inn}.",
		"{person.3} the {trade} says hello.",
	}
	return s.fill("Dear {person},\n") + s.several(g.between(2, 4), lines) + s.fill("\nYours, {person.2}")
}

func list(g *Generator) string {
	s := g.scene()
	return s.pick([]string{
		"To buy at the market: {food}, {food.2}, {food.3} and {drink}.",
		"In the {colour} box there are a {thing}, a {thing.2} and a {thing.3}.",
		"The {inn} has on {day}: {taste} {food}, {food.2} with {food.3}, and {drink}.",
		"Animals seen near the {place}: one {animal}, two geese, a {size} {animal.2} and a {animal.3}.",
	})
}

// fields of a guide's entry.
var fields = []string{"house: {inn}", "dish: {taste} {food}", "where: {place}", "cost: {price}", "sort: {kind}", "for: {guests}", "drinks: {drink}"}

// record is an entry of a guide with its fields in any order, told again in words: from it a model learns to look a
// field up and to repeat it.
func record(g *Generator) string {
	s := g.scene()
	lines := []string{
		"The {inn} is a {kind}.", "It cooks {taste} {food}.", "The {inn} stands by the {place}.", "The cost is {price}.",
		"It is for {guests}.", "You can drink {drink} at the {inn}.", "{Guests} eat {food} there.",
	}
	return s.listed(g.rng.Perm(len(fields))[:g.between(4, 6)], fields) + ". " + s.several(g.between(2, 4), lines)
}

// listed fills some of the patterns and puts commas between them.
func (s *scene) listed(which []int, patterns []string) string {
	parts := make([]string, len(which))
	for i, n := range which {
		parts[i] = s.fill(patterns[n])
	}
	return strings.Join(parts, ", ")
}

// form is an entry copied in another order: only who finds the field again can foretell what it says.
func form(g *Generator) string {
	s := g.scene()
	which := g.rng.Perm(len(fields))[:g.between(3, 6)]
	first := s.listed(which, fields)
	g.rng.Shuffle(len(which), func(i, j int) { which[i], which[j] = which[j], which[i] })
	return first + ". Copied: " + s.listed(which, fields) + "."
}

// echo is somebody repeating what another said.
func echo(g *Generator) string {
	s := g.scene()
	return s.pick([]string{
		"\"{person} {verb} the {colour} {thing},\" said {person.2}. \"The {colour} {thing}?\" asked {person.3}. \"Yes, the {colour} {thing}.\"",
		"{person.2} called: {animal}, {food}, {thing}, {place}. {person.3} wrote down: {animal}, {food}, {thing}, {place}.",
		"At the {inn} they sing of the {place}: oh {place}, dear {place}, where {person} the {trade} met the {animal}, the {animal} at the {inn}.",
		"The sign says {inn}. {person} reads it aloud: {inn}. Below stands {taste} {food}, and {person} asks for {taste} {food}.",
	})
}

// recital is a row of words said twice: the second time nothing but the first foretells them.
func recital(g *Generator) string {
	s := g.scene()
	words := []string{"{animal}", "{food}", "{thing}", "{place}", "{colour}", "{person.3}", "{animal.2}", "{thing.2}", "{food.2}", "{trade}"}
	row := s.listed(g.rng.Perm(len(words))[:g.between(4, 9)], words)
	return s.fill("{person} says: ") + row + s.fill(". {person.2} says: ") + row + "."
}
