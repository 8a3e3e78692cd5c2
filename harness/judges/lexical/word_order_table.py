"""What `benchmarks/word_order.py` learned: made by it, not by hand."""

PAIR_WEIGHTS = (
    "accCdcdhgyndflkhiaacarmamgsatBwpIHvAwIFJGDEGEJFHEuyyyyyytBux",  # THE
    "dcawgaajgkmbhkhbmadfapgallxfCuxbKHDECGLHlBjGJAHIswyFyyyyxGsz",  # A
    "yssyyuBGCuoJwxsFmitvrxrnjyxoupwtuEACxvtBDyIAAzuAtvyzywvywvyy",  # THIS
    "ywmpwlosirsjzmkoloEtnrTcDjxbAqykJItzyBDBHCFCyyvDqwCFzyxwAxwx",  # ANY
    "jjipjcholkmdnrnlnihgmorfrkxdmuwwDHurzGGJHFFGIwGFyvyyAzyyywzy",  # MY
    "kfcngadnihyvLNFMhemjeBreeixaApGJomtJCiyvmEdfAyyDstyyAByywrxy",  # I
    "itrqnbcnhjAhJJyHpxltzDyrjkwlyxGHowzACjwInravysrAruyFFDzAyoyy",  # YOU
    "hjoypmspnjsKJJCIqjnkkAsjuoxiErAGAnyGwrsAqwFEDyDwuyvADyyyusyx",  # HE
    "itlrmjknnAuLJBrCtpotypqsouyfzCCjqnpqzlsxonHisyirqrCAGyyywryy",  # IT
    "utxCwnszkuzuCypuqAzBCBvwzsxvAyCvsustvryxruAoCyrutzsBDwtzBzyy",  # ME
    "yFivydfpoqpwsonbpjCyuCyrxoxlEyynCqBMxpFtsujxyyvzuvyxyxwyxBwy",  # BE
    "DKBAvhewHAqlrrjjLvlutptaquuuKAvbGlAFEkDwpyfArwtzxEyACDGyDEyx",  # IS
    "AzhCujJyzjsjiCmfMnnBrrwotivhLxyeEuHGGmCszoxFzyyzxvyCyAryywwy",  # ARE
    "GJpDCgBrurLprrkkBzqusutdrmwnypwjxlnJyrBxrCvoFyBxvxyDAwyyuAyy",  # HAVE
    "GqGqDCLCKwsprpkiPuqnrqxfwyyonqxhovtpvmwCtxCpoyhuwyyCBByyyvyy",  # DO
    "fagkoEIuzmOkeKDgLbjjfAnhmiraGmyIuBpnGitEkEjtDxsCxwyBxByCzrxy",  # MODAL
    "tzwwvjqpqpIihHlgquwyoFBirqxoEGEHyqFCCtyztrjqFxtBxyyADyyywuyy",  # NOT
    "AvsxvarjkzGadCBauajaahmcfkwdwisImCmmCzzBoIoAGxAGDvyxEAyyByvy",  # TO
    "CxyBFgklsEslltniqelfdrucpvAqqhyhwBEsuxzvzuByyzyzAAyFyyyywyyy",  # OF
    "IEEDEcpnsComfmmbicdkkpomoqGBmoxiAxCmzuCyzuszuBtyDFyADtxvzCwx",  # IN
    "FDEBFkvmCGtcdqdcqgdlfyshjqzxwsvluAEvoxyuxyvwwxvwFJywCCuBzExy",  # FOR
    "HCBEBBDyBDAnnuniqDqzuzxoswCquutluoGzvtzxytEztyAvByyEDoxuyGyy",  # AFTER
    "xGvswxtCHxtqtqskttqqtwqhvrwuCGymCryyssyvxutxwxvwyxyyyyvyyExy",  # AS
    "utqtuxqxtvpkprzuwmbpoqkayuuzBsuBxqECzHFAxxzADAAAvvyxyAyyvCyy",  # AND
    "CqxDxADIBxxqjwqrtrsymtzlvByAGBxyurwzAoykuvsxvyHuvuyBICyxyyvy",  # BUT
    "FACwuDJLFAutpmHxpqBtltvustxmulygqxBtkornowrznxorwvyuztyyyyAy",  # IF
    "txvwvwyDyBwEAByDwqqsuwxryyyxtwAvxxwwrwuyyyFuuyuqzEyyyyyyyyyy",  # WHICH
    "usuzqCFBytpOLxNKIHnkGtwqrAymktvfErovHxusuvFywywwsyzEGDyywHxy",  # HOW
    "yxjFnhAzmkIhjAwmsssBDFxkwCvprDyEBCCICtGDAtywyyAByHyEIyxxyAyy",  # VERY
    "uyywyqsuBzDzAqzorHHDHyBvwywoqvxArzxrusutzzspsxtyvtzzFwszztwy",  # HERE
    "zyFIvuCzvAyyvtuwxxwyEyyBBtyzyyyxywwtwxwvyyzyvyuvyyyxyvzyyFwy",  # SAID
    "BCDCCjxyDMtAfmaaoDDCBtttrsxtuCubsyzypAzsvqtsywqwnvyCGByFGBzy",  # MAKE
    "gkqomakmhwrmnqymnEowyzFwDqxhrFymqHnrrAzzIuIsyxuCtyuDKwxABxyA",  # GOOD
    "ihArtqGGnJrAEywvkBGEFxwBzBvhzswmtzuzvvmDyzsuvxstBwtzDuyDxqBy",  # WAY
    "CDxxCdrqCGuxnqlmkGwHBzxxvtwpqztdtDupqwyyvwAwwtqvpuwBEuxyzuuu",  # ING
    "yvvqtnznzBojiqsiqJvLJtBAuCvpuExlqCrlsusoAyArutnrutyAwtwAyAwy",  # ED
    "qqmrrpkBprDynxLwqqvDFAvFnvurxyyCEsCFtoBBtuyyAxuyDxuEIAAxxBxy",  # LY
    "fkygroqrpluDtstxpDKEFFvJzzxnnvtgivlqlrslpsysktqmnrqAFxsyxwFz",  # NESS
    "nkxjrdnogwmlhpjnwzCAAwwDszsiisyfkDrkkEtyGBDtBryymovzIvtxuqwx",  # OUS
    "sttuymzwtuvAtBqwoAIECLyDswwErwGsoypvwzrsvsytvwturzrzEwrDwzGC",  # ER
    "ksGrovrvpouyLxyBtFKDGFCJyyypwwxprimpskemsrhllxmiszyBGvwtAwBy",  # NESSES
    "rysyBururzvIwDsttFJKNzyzxzyovwynonsqqvnwuvxvsAlqrDuyLtCwzryx",  # SS
    "orEskqzBpzCvGxxAkFJIHEwIDwqizDwqsjprsnjopvmrpwpkkuyCExvzCvAt",  # S
    "yuDuwnrsCsrBtAtAsAFFFAwIvxBltvyooCowutuvuyDyyxrvmAvFCtvwAuDu",  # Y
    "xqGxAmxxzBrBstsrnBGFFzyDtysrszxjlArtswtxzvAuuAtrrAsBHwvAzBCx",  # E
    "vxxyyzxvywyuywyyyvyvyyxyuvyyysywxywxxvvxwwszuBtzCxyFxAwxvAyw",  # LETTER
    "tuvvzssvFxrByvGBzDHGFFyArywuyEFksEqxovvtzxBztvwBAvwFIxvHwwLx",  # SHORT
    "tuBtwoxsyDpAqxrskBHHDuAEtsrjqCvnmAtuqxsxzuzvwtywvutDDxvzAvDw",  # WORD
    "qqrrswuCsyCuwBxBvvwqBxvEywExsnywsuuqruuzxwtvsyysByyADuwmyyyq",  # NUMBER
    "wutwystvwxswxyxxysGvuyyxvCyyyAysxAzBvAAAyzBuCyCDCyzyytqDuzyA",  # SYMBOL
    "CCwtvnpxstDmsvtrBktwqvwmyrypuxymvJEwuGFCDBBFEAADtxyzDDwxywyz",  # POSS
    "rgvskvqBArjjlqstdbaqlkxrBEwCqBrpikofsjeiggjqlogoonyyysyvtquy",  # STOP
    "baqdckaagalhjahfeacaagqromqchptaafaegfkcgjabbsaasrytvyysulsw",  # ASK
    "ysABxFBHDqmonprrvljttCAONGPBAFwzwoCtwsrxstrtrvBvnmyyyyxDqztx",  # COMMA
    "CxHEBJCuzturzwvCzwstryypCGyAzyyAtszssvwqpvqyvtBAFEyAyyyDyHzy",  # COLON
    "wBruGAAHBsvtvtxquvnCEwEzHHBypHxvilvpAnrqqytuuEwzSMyyyyyyLECy",  # LINE
    "CvyxwvyzDyByyvtuwyyAyuyuwxyDyByywuxwzAwwwyxFwxwywyyyyyyzxAuG",  # DASH
    "ruHtvuvyuAvFvwysBwvCxuFOLzyutxywwyyrtxzzAyyxquyuwAyCIAyyEGzC",  # QUOTE
    "yxvvyzyyyyyyyyyyyyyvzxyyyxCyyyyxAyywyzxyyxArzyxxDxyyyyyyyAyy",  # OPEN
    "wyCxywyywvyyyxyxyzzzDyyEwAyyzByxxCwxwsrvxyFxsyxptFyHyxzwyBxy",  # CLOSE
)
"""A row for each class, a letter for the class that follows (`LEVELS` of word_order.py)."""

LETTER_PAIRS = "bcdfghiklmnprstuvwxy aeijlorstuy acehiklorstuy adegilorsuvy abcdefghiklmnopqrstuvwxy aefilorstuy aeghilnoprstuy aeilmnortuy abcdefgklmnopqrstvz aeou aeins adefiklmnopstuvwy abefimopsuy acdefgijklmnostuvy abcdefghiklmnoprstuvwy aefhiloprstuy u abcdefgiklmnoprstuvy acehiklmnopstuwy acefghilmoprstuwy abcdegilmnprst aeio aehilnors aiptu beilmopst ae".split(" ")
"""For a to z, the letters that follow it in English words."""

COMMON_STEMS = (
    "abili able about abuse accep acces accom accor accou accur achie ackno actio activ addic addit addre "
    "adult advan advic advis advoc affec affor after again allow alone also alter alway amoun anoth answe "
    "anyon anyth apolo appea apply appro area areas aroun askin aspec asses assis assum attac attem atten "
    "attit attra autho avail avoid aware away back backg bank based basic becau becom been befor behav being "
    "belie benef best bette betwe black body both bound break bring build busin calle campa canno capab card "
    "care caree caref cause causi cauti cente certa chall chanc chara charg check child choic choos chris "
    "circu city claim clari class clean clear close colla colle come comes comfo commi commo commu compa compe "
    "compl compr compu conce concl condi condo condu confi confl conne conse consi const consu conta conte "
    "conti contr conve convi cool could count cours cover creat credi crime crimi crisi cruci cultu curre "
    "custo damag dange data date deali dear death decis dedic deep defin deman democ demon denie depar depen "
    "deser desig desir destr detai deter devas devel devic dialo diffe diffi digit digni direc disco discr "
    "discu disre distr diver docum does doing done down drive drug durin each earn easil educa effec effor "
    "else email emerg emoti empat empha emplo encou energ enfor engag engin engli enhan enjoy enoug ensur "
    "enter envir equal equip equit espec essen estab ethic ethni even event every evide examp excha exclu "
    "execu exist exper expla expli explo expos expre extre face facil fact facto factu fair fairn fake false "
    "famil feedb feel feeli ficti field figur film final finan find findi fines first focus follo food force "
    "form forms foste found fraud free freed frien from fulfi funct funda furth gain game gathe gende gener "
    "getti give goal goals goes good gover great group guida guide handl happy haras hard harm harmf harmi "
    "hate have havin healt hear help helpf here high highl histo hold home hones hope hotli house howev human "
    "idea ideas ident illeg immed immig impac imple impli impor impri impro inapp inclu incom incre indiv "
    "indus infor inher initi innoc insid insta inste instr integ intel inten inter into inves invol issue "
    "items john journ judge judgm juris just justi keep kind kindn know knowl known labor lack langu large "
    "lasti laws lead leadi learn legal legit less level licen life light like likel limit list liste live "
    "lives livin local locat long look looki loss love made maint major make makes makin manag manne many "
    "marke mater matte meani means meant measu media medic meet membe menta messa metho might milli mind minim "
    "misin model money monit moral more most motiv move much multi murde must mutua name natio natur navig "
    "neces need needs negat netwo never news night note numbe objec obtai offen offer offic often once onlin "
    "only open opera opini oppor optio order organ orien other over overa overc owner parti partn past payin "
    "peace peopl perfo permi perpe perso persp phone phras physi place plan plans plant platf play playe pleas "
    "point polic polit popul posit posse possi poten power pract prefe prepa prese press preve princ prior "
    "priva probl proce produ profe profi progr promo promp prope prote provi psych publi purch purpo pursu "
    "quali quest race raise range rathe reach real reali reaso recei recog recom recor reduc refer regar regul "
    "relat relev relia relig remai remem remin remov repor repre reput reque requi resea resol resor resou "
    "respe respo rest restr resul retur right risk role safe safet same scena schoo scien secre secur seek "
    "seeki self sell sense sensi serie serio serve servi setti sever share shari shoot short shoul showc side "
    "signi simil simpl since situa skill small socia socie solut some someo somet sorry sourc space speak "
    "speci sprea stand start state statu stay steal step steps store story strat stren stric stron strug study "
    "subje subst succe such suffe sugge super suppo sure suspe syste take taken takes takin talk targe task "
    "teach team techn term than thank that theft their them then there these they thing think this thoro those "
    "thoug thous threa throu time times tips today toget tool tools topic towar tradi train trans trave treat "
    "true trust truth tryin turn tutor type types typic ultim unabl under uneth uniqu unite unsaf upon used "
    "user users uses using utili valua value varie vario victi viola viole virtu voice votin vulne want water "
    "ways weapo websi well were what when where wheth which while white whole will willi with withi witho "
    "women work worki works world worth would writi wrong years your yours "
)
"""The beginnings of common English words."""
