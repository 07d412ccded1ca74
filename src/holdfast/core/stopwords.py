"""Words that say little about what a text is about, and words that carry time or number, by language."""

from __future__ import annotations

from typing import Final

STOP_WORDS: Final[dict[str, frozenset[str]]] = {
    language: frozenset(words.split())
    for language, words in {
        "english": """
            a about after again all also am an and any are aren as at be because been before being
            both but by can could couldn d did didn do does doesn doing don down each else ever few
            for from get gets getting go goes going got had hadn has hasn have haven having he her
            here hers herself him himself his how i if in into is isn it its itself just let ll m
            many may me might mine more most much must mustn my myself no nor not of off ok okay on
            once one only or other our ours ourselves out over own please re really s same shall she
            should shouldn so some such t than that the their theirs them themselves then there these
            they thing things this those though through to too until up upon us ve very was wasn way
            we well were weren what whatever when where whether which while who whom whose why will
            with won would wouldn y yeah yes yet you your yours yourself yourselves hey hi hello
            oh wow""",
        "german": """
            aber als also am an auch auf aus bei bin bis bist da damit dann das dass dein deine dem den
            denn der des dich die dies diese diesem diesen dieser dieses dir doch du ein eine einem
            einen einer eines er es euch euer für hab habe haben hat hatte hatten hast ich ihm ihn ihnen
            ihr ihre im in ist ja jede jeder jetzt kann kein keine mal man mein meine meinem meinen
            meiner mich mir mit nach nein nicht noch nun nur ob oder schon sehr sein seine sich sie
            sind so über um und uns unser unsere unter vom von vor wann war waren warum was welche
            welcher welchen welches wem wen wenn wer werde werden wie wieder wir wird wo wurde zu zum
            zur zwischen wohin woher weshalb wieso
            darf durfte muss musste müssen soll sollte will wollen wollte möchte kannst könnte können
            keinen keinem keiner etwas nichts jemand wessen wieviel viel viele alle alles bereits eigentlich
            wurden worden würde gerade ihrem ihren seinem seinen seiner""",
        "french": """
            à ai as au aux avec avez avons ce ces cet cette ceux d dans de des du elle elles en est et
            étaient étais était être eu il ils j je l la le les leur leurs lui m ma mais me même mes moi
            mon n ne nos notre nous on ont ou où par pas pour qu quand que quel quelle quelles quels qui
            quoi s sa sans se ses si son sont suis sur t ta te tes toi ton très tu un une vos votre vous
            y comment pourquoi aussi bien fait plus oui non donc combien lequel laquelle lors avait avais
            sera faire peut doit dois alors très tout tous toute toutes quelqu chez vers depuis""",
        "spanish": """
            a al ante como cómo con cuál cuáles cuándo cuando cuánto cuántos de del desde donde dónde
            el él ella ellas ellos en entre era eran es esa ese eso esta está estaba estas este esto
            estos fue fueron ha han hasta hay he la las le les lo los más me mi mis mucho muy no nos
            nosotros o otra otro para pero por porque qué que quién quien se sea ser si sí sin sobre
            son soy su sus también te tiene tengo todo tu tú tus un una uno unos y ya yo adónde dijo hace hacer puede debe algo alguien nada
            nuestro nuestra aquí ahí entonces tan tanto todos todas toda""",
        "portuguese": """
            a ao aos as às até com como da das de dela dele do dos e é ela elas ele eles em entre era
            essa esse esta está este eu foi foram há isso isto já lhe mais mas me meu meus minha minhas
            muito na não nas nem no nos nós o onde os ou para pela pelo por porque qual quais quando
            que quem se sem ser seu seus só sua suas também te tem tenho teu tu tua um uma você vocês""",
        "italian": """
            a ad agli ai al alla alle anche c che chi ci come con cosa cui da dal dalla dei del della
            delle di dove e è ed era erano gli ha hai hanno ho i il in io l la le lei lo loro lui ma
            mi mia mie mio miei molto ne nei nel nella noi non nostra nostro o per perché più qual
            quale quali quando quanto quanti questa queste questi questo se sei si sia sono sta su sua
            sue sul sulla suo tra tu tua tuo un una uno vi voi""",
        "dutch": """
            aan al als bij dan dat de der deze die dit doen door dus een en er ge geen had hebben heb
            hebt heeft hem het hier hij hoe hun ik in is je jij jou jouw kan maar me meer met mij mijn
            naar niet nog nu of om omdat ons onze ook op over te toch toen tot u uit van veel voor waar
            waarom want waren was wat we wel werd wie wij wil worden wanneer welke zal ze zei zich zij
            zijn zo zou""",
        "swedish": """
            alla att av blev bli där de dem den denna det detta dig din dina ditt du efter eller en er
            ett för från ha hade han hans har här henne hennes hon honom hur i inte jag kan man med
            men mig min mina mitt mot mycket när någon något och om oss på sedan sig sin sina sitt ska
            skulle som till under upp ut vad var vara varit vem vi vid vilken är över""",
        "russian": """
            а без более больше будет бы был была были было быть в вам вас весь во вот все всё всего вы
            где да даже для до его ее её если есть еще ещё же за и из или им их к как какая какие какой
            когда кто ли меня мне мой моя мои мы на над нам нас наш не него нее неё нет ни них но о об
            он она они оно от очень по под почему при с сколько со так там тебе тебя то только ты у уже
            чем что чтобы эта эти это этот я""",
        "arabic": """
            أن أنا أنت إلى إن أو أي أين بعد بين تم ثم حتى حيث ذلك عن على عند في قد قبل كان كانت كل كم كما
            كيف لا لم لماذا لن له لها ما ماذا متى مع من منذ نعم هذا هذه هل هم هناك هو هي و يا التي الذي
            الى ان انا انت اي اين انه لي لك""",
        "hindi": """
            अपना अपनी अपने आप इस उस उसका उसकी उसके एक और कब करता करते करना कर का कि किस किसने कितना कितनी
            कितने की कुछ के को कौन कौनसा क्या क्यों कहाँ कहां गया गई गए जब जो तक तब तुम तो था थी थे दिया
            नहीं ने पर बहुत भी मुझे मेरा मेरी मेरे में मैं मैंने यह ये रहा रही रहे लिए वह वे वो से हम हाँ ही हुआ हुई
            हूँ हूं है हैं हो होता""",
        "turkish": """
            ama ben bana beni bir biz bu bunu çok da daha de değil diye en gibi hangi hem her için ile
            ise kadar ki kim mi mı mu mü ne neden nerede nasıl o olan olarak onu sen sana siz şu var ve
            veya ya yok""",
        "polish": """
            a ale bo by był była było być ci co czy dla do gdzie go i ich ja jak jaki jaka jakie jego jej
            jest już kiedy kto która które który mi mnie mój moja moje mu my na nie o od on ona oni po
            przez się są ta tak te tego ten to tu ty tym w we z za że""",
        "indonesian": """
            ada adalah aku anda apa atau bagaimana bagi bahwa berapa bisa dan dalam dari dengan di dia
            ia ini itu juga kamu kami kapan karena ke kita lagi mana mereka saya siapa sudah telah
            tidak untuk yang""",
    }.items()
}
"""By the name of the Snowball stemmer. Fragments around an apostrophe ("don", "t", "qu") are words here."""

STOP_BIGRAMS: Final[frozenset[str]] = frozenset(
    """
    什么 甚么 怎么 么样 哪里 哪儿 哪个 哪些 哪天 多少 几个 请问 为什 的是 是什 我的 你的 他的 她的 是我 是不 不是 有没 没有
    了吗 一个 一下 这个 那个 这些 那些 我们 你们 他们 她们 什麼 怎麼 么时 的时 时候 候的 是谁 是在 是多 是几
    です ます した して いる ます ません から まで こと もの それ これ あれ どれ どこ いつ だれ なに 何で 何を 何が ですか
    ました ている でした すか たか のは のが のを ので には では とは した っと
    습니 니다 니까 까요 어요 아요 는지 에서 으로 하는 하고
    """.split()
)
"""Two-character pieces of question words and grammar in scripts written without spaces."""

STOP_HAN: Final[frozenset[str]] = frozenset(
    "的了是我你他她它们們这這那有在不也和就都很吗嗎呢吧啊什么麼怎哪谁誰几幾个個要会會说說去来來到上下大小多少一人"
)
"""Han characters that are grammar, or in every other sentence."""

TIME_WORDS: Final[frozenset[str]] = frozenset(
    """
    today tonight yesterday tomorrow ago day days week weeks weekend weekends month months year years
    morning afternoon evening night noon midnight hour hours minute minutes monday tuesday wednesday
    thursday friday saturday sunday mon tue tues wed thu thurs fri sat sun january february march april
    june july august september october november december jan feb mar apr jun jul aug sep sept oct nov
    dec spring summer autumn winter christmas easter halloween thanksgiving birthday anniversary
    recently lately soon century decade fortnight am pm
    heute gestern morgen vorgestern übermorgen tag tage tagen woche wochen monat monate monaten jahr
    jahre jahren uhr abend nacht montag dienstag mittwoch donnerstag freitag samstag sonntag wochenende
    januar februar märz mai juni juli oktober dezember neulich kürzlich
    aujourd hui hier demain jour jours semaine semaines mois an ans année années heure heures lundi
    mardi mercredi jeudi vendredi samedi dimanche janvier février mars avril juin juillet août septembre
    octobre novembre décembre récemment
    hoy ayer mañana anoche día días semana semanas mes meses año años hora horas lunes martes miércoles
    jueves viernes sábado domingo enero febrero marzo abril mayo junio julio agosto septiembre octubre
    noviembre diciembre recientemente
    hoje ontem amanhã dia dias mês ano anos segunda terça quarta quinta sexta janeiro fevereiro março
    maio junho julho setembro outubro novembro dezembro
    oggi ieri domani giorno giorni settimana settimane mese mesi anno anni ora ore lunedì martedì
    mercoledì giovedì venerdì gennaio febbraio aprile maggio giugno luglio settembre ottobre dicembre
    vandaag gisteren morgen dag dagen week weken maand maanden jaar jaren uur maandag dinsdag woensdag
    donderdag vrijdag zaterdag zondag januari februari maart mei augustus
    сегодня вчера завтра день дня дней неделя неделю недели недель месяц месяца месяцев год года лет час
    понедельник вторник среду четверг пятницу субботу воскресенье января февраля марта апреля мая июня
    июля августа сентября октября ноября декабря недавно
    اليوم أمس امس غدا البارحة يوم أيام اسبوع أسبوع الأسبوع شهر الشهر سنة عام العام الماضي ساعة الساعة الاثنين الثلاثاء
    الأربعاء الخميس الجمعة السبت الأحد يناير فبراير مارس أبريل مايو يونيو يوليو أغسطس سبتمبر أكتوبر نوفمبر ديسمبر
    आज कल परसों दिन हफ्ते हफ़्ते सप्ताह महीने महीना साल बजे सुबह शाम रात सोमवार मंगलवार बुधवार गुरुवार शुक्रवार शनिवार
    रविवार जनवरी फरवरी मार्च अप्रैल मई जून जुलाई अगस्त सितंबर अक्टूबर नवंबर दिसंबर तारीख
    오늘 어제 내일 지난주 다음주 작년 내년 주말
    """.split()
)
"""Single words, casefolded, that place an event in time ("may" the verb is left out)."""

TIME_RUNS: Final[tuple[str, ...]] = tuple(
    """
    今天 昨天 前天 明天 后天 今晚 昨晚 上周 下周 这周 本周 周末 上个月 下个月 这个月 去年 今年 明年 前年 月 号 星期 礼拜 周一 周二 周三
    周四 周五 周六 周日 点半 点钟 小时 分钟 年前 天前 早上 下午 晚上 最近
    今日 昨日 一昨日 明日 来週 先週 今週 週末 来月 先月 今月 去年 来年 曜 時 日に 年に 歳
    เมื่อวาน วันนี้ พรุ่งนี้ สัปดาห์ เดือน ปี 오늘 어제 내일 지난 다음 월 일 요일 작년 내년 시에
    """.split()
)
"""The same for scripts without spaces: substrings of a run."""

NUMBER_WORDS: Final[frozenset[str]] = frozenset(
    """
    two three four five six seven eight nine ten eleven twelve thirteen fifteen twenty thirty forty
    fifty hundred thousand million dozen half twice first second third fourth fifth couple several
    zwei drei vier fünf sechs sieben acht neun zehn elf zwölf zwanzig hundert tausend
    deux trois quatre cinq sept huit neuf dix vingt cent mille dos tres cuatro cinco seis siete ocho
    nueve diez veinte cien dois três quatro sete oito nove dez due tre quattro cinque sei otto dieci
    twee drie vijf zes zeven tien два две три четыре пять шесть семь восемь девять десять
    दो तीन चार पाँच पांच छह सात आठ नौ दस अثنان ثلاثة أربعة خمسة ستة سبعة ثمانية تسعة عشرة
    """.split()
)

FIRST_PERSON: Final[frozenset[str]] = frozenset(
    """
    i me my mine myself we us our ours ich mir mich mein meine meinen meiner wir uns unser je moi mon
    ma mes nous yo mi mis me nosotros eu meu minha nós io mio mia noi ik mij mijn wij я мне меня мой моя
    мы أنا لي मैं मैंने मुझे मेरा मेरी मेरे हम ben bana benim saya aku ja mnie mój
    """.split()
)
"""The speaker talks about themselves."""

FIRST_PERSON_RUNS: Final[tuple[str, ...]] = (
    "我",
    "私",
    "僕",
    "俺",
    "うち",
    "ผม",
    "ฉัน",
    "나",
    "저",
    "우리",
)
