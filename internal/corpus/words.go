package corpus

import "strings"

// Words are the lists that placeholders draw from.
var Words = map[string][]string{
	"person":  split("Mira Tomas Asha Bruno Lena Omar Ivo Nadia Pavel Rosa Samir Greta Hugo Inga Jonas Kira Luca Maren Nils Olga Petra Rafi Selma Timo Ute Vera Wim Yara Zeno Anouk"),
	"trade":   split("baker|carpenter|fisher|gardener|miller|potter|tailor|teacher|weaver|shepherd|doctor|postman|smith|painter|farmer|ferryman|beekeeper|clockmaker", "|"),
	"animal":  split("cat dog goat hen horse donkey fox owl hare goose crow hedgehog frog mouse otter sparrow turtle lamb"),
	"size":    split("small big little large tiny huge thin heavy"),
	"colour":  split("red blue green white black grey brown yellow golden silver"),
	"mood":    split("happy tired proud curious calm worried cheerful quiet glad surprised"),
	"thing":   split("key box lamp rope bell book basket hammer kettle letter map mirror needle pot ring spoon coat hat candle bottle coin drum ladder wheel"),
	"place":   split("river|bridge|market|mill|forest|harbour|church|school|old tower|garden|lake|hill|station|village square|meadow|well|barn|library", "|"),
	"spot":    split("under the table|behind the door|on the shelf|in the cellar|beside the stove|near the window|on the roof|in the barn|by the gate|under the stairs", "|"),
	"food":    split("soup bread cheese fish rice honey apples stew pancakes noodles pie beans potatoes mushrooms dumplings porridge plums carrots"),
	"drink":   split("tea|milk|coffee|cider|water|cocoa|plum juice|mint tea", "|"),
	"taste":   split("fresh warm sweet salty spicy plain rich sour"),
	"weather": split("rain snow fog wind sunshine hail thunder drizzle"),
	"sky":     split("clear cloudy grey bright dark pale"),
	"season":  split("spring summer autumn winter"),
	"time":    split("One morning|One evening|Late at night|At noon|Early on Monday|On a cold day|On a hot day|After the harvest|Before the feast|Last winter|On Sunday", "|"),
	"day":     split("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
	"price":   split("cheap|fair|high|low|moderate", "|"),
	"inn":     split("Blue Kettle|Old Anchor|Silver Spoon|Three Lanterns|Green Door|White Goose|Copper Pot|Hungry Otter|Long Table|Red Barrel|Quiet Mill|Golden Plum|Stone Oven|Singing Crow|Last Ferry|Round Window", "|"),
	"kind":    split("inn|café|tavern|tea house|bakery|canteen", "|"),
	"air":     split("quiet|lively|cosy|friendly|simple|old|busy", "|"),
	"guests":  split("families|travellers|children|sailors|students|farmers|musicians", "|"),
	"verb":    split("carried|hid|found|lost|sold|mended|painted|polished|borrowed|dropped", "|"),
	"work":    split("sweep the yard|carry the water|feed the hens|mend the net|chop the wood|bake the bread|wash the floor|paint the fence|dig the garden|sort the letters", "|"),
	"feeling": split("laughed|smiled|sighed|nodded|sang|waited|whistled|shrugged", "|"),
}

func split(s string, sep ...string) []string {
	if len(sep) > 0 {
		return strings.Split(s, sep[0])
	}
	return strings.Fields(s)
}
