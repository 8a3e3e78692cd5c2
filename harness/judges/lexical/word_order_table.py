"""What `benchmarks/word_order.py` learned: made by it, not by hand."""

PAIR_WEIGHTS = (
    "aafCeabehtjchljbiaaectoamhvasCvnHGyzxJGIGDDFEDEGCxyyyyyyuAxy",  # THE
    "bbavilakfkjeilffiabaaqhamkvdywzbKGDFDGLInumHHyGHsuywyyHyuEyy",  # A
    "xuqzAuCDDzsHxutFmjrtsArmjxwqvsAuxIABwyuBFyJBBBuAwxyAxvwxxsvy",  # THIS
    "BtrpyimsewqgwkjojpDqluUcEmulzrypMKtzyDCAIAGEvuBBswCEzvyuAyxy",  # ANY
    "ghirhgenkjnhnoklnihgiomfolyhmAwtDHxsxIGLGEFHJxIFxvyxBtxyyvEy",  # MY
    "gedmddbhghwsKLGNgdqicApefjxdCnAJnotJBmAwlGcbyvwCtyyxEwyywsAy",  # I
    "kvupiacohjDiIHyHmxhwxEBsmmwixxDIjvBEEsvHlrcsytoArqyFDDzByoyy",  # YOU
    "emoConqrrjqKMNDJsilgjAqltoxoEqxEBlyFyovDttDwFxwxuyyyKvxyypyx",  # HE
    "lukvljlmmDtLKBqErposynqpmsxexHCnommtzltAsoEktplprtDCKyxytwwy",  # IT
    "vuzxzpszlswuBAowtzAECzyxzsxxAzBxwsnwsptvqtyrByoAnCuCDuvvztyy",  # ME
    "yFjvueiolsvuqmrhooxytBwqBrxoCwCmBqBLCsFvsndtzyxAwwyxAyxyyBwy",  # BE
    "DIBCuihxIztgjrjlMukvqrtdpuwsJvvbFjzGGkCvouhBsvszxDyCCADyyDxy",  # IS
    "DBeBtkIxxkuifFnhOnkxqrxowjwhIyzeBuHIGnBsumxEywwyowyCyAxyxxvy",  # ARE
    "EGqCFeBswGOlpAlnyBorruthqnxoAqyktjnNznByoCtmHyAwwxyyyvyywwyy",  # HAVE
    "JnGnADLAJtuwqolgRqqmuuxhwqxmmqyhruurvnyEuyCouwhrwyyDCxAyyuxy",  # DO
    "ecfijFJsCmNieJDiLakieArfofvaEpyIqDqmFluDkIkuCxsBwtyAyByFCnyy",  # MODAL
    "twuOsfopunIjjEmiosqvpCFiotxlGJDFxqEAFtwupphsDxtzxyyFxzyyvtyy",  # NOT
    "AtsvwaoijzIacDEauafbckoaihtdvhsImDlnAwABqIozGqAGEyyzDxyyAxwy",  # TO
    "DvzzFfirqFtojtqkrfkegtrapsxulizhxCCqyAwuBxBHAuxzzAyEyyyyuxyy",  # OF
    "KGDAEdqnqEnlfnndldfwmpqoqsCCnvvjzzBlAtCAwsvAvzAzEByAEtxwwEyw",  # IN
    "GDDCGfxjGGrdblefohdlctpkistursyluCDrlzyAxwxsvDvxIDyxDAtzxCxy",  # FOR
    "HEDDDCDDCFDmownitCswvzvqtAAtusxltmGypvwuzuAwGyArxCyCEpwtyCyy",  # AFTER
    "xHswuywzMwtqsqtmumvtusqjszwtEHxkzszuvtwwxyqvuyuuAyyyyyxyyDwy",  # AS
    "vtruswszsyphsrzvBmaonoiaEvuwCrxAwtECBEFBvwzxBDwzxxyyyxywwAvy",  # AND
    "GoyFABBFAtAuitsqspsBquBivCyADBxtvqxEHnxluwvzpqCswwyBJxwyytxy",  # BUT
    "DzxusEIOEByvnqExurxuluuutuxqtozgpxBvloplxxrxjyorrsyxyswxywBy",  # IF
    "tBwrwyxCuCyGAAwywupsvyywyxvxtxAzywtrrxwtyxAvryyqzyyyyyyyyyyy",  # WHICH
    "uuwzsAGECtqQLsMLDIljGuvtsvyoutxcCwkxIzvrwwFyxvrwtxAEIEyyxFyy",  # HOW
    "wAkBhjyxkjHemBBmtqvBFHvjryvqrzyEDBDJDtHJysywzpzAuJyOEAyByzwy",  # VERY
    "yywxzmppCyAABrDrpIHBHyDtrwttqGyzrCsttttpByosqouupwyyEwtAyuyy",  # HERE
    "wyFFAtEEAwyvysyvyxyzDyyxAryytyyvyywtxxyxyyzwwywtwyywywwyzDyy",  # SAID
    "DCDDAiywCMsCekaapCEDzsttpsxruEyaqvExqCyqttwqyurwlwxDBzzDCDxy",  # MAKE
    "hoummdkoitqlorBkkEqwtzExGqwhrKylsHkmpzDyJxJyAvDBqxxHIxxFzxxA",  # GOOD
    "iiyovpFDoJoBFywxmBBBGtyDzyykwExjtyxyxqhAxEttyzxsCyvzCtwDvtCy",  # WAY
    "BDyyCeqqDGuvonksjFwFBzvArtvmsEudsCyptuytvyAuustuptyDDsyvxuwx",  # ING
    "xzsnvlAhBxojmowlsKvLLAByuDuktByhszplstuoxyBrruqqtvyBztuywBuy",  # ED
    "qsnrpqoxorBxmzPwqrxCEBuGnByqzwyCDsAFumCxsxxxywAyHxwEGyyxvwyy",  # LY
    "gizfpmsorlrBtuvzoFNFFCBJAAyisrwmixjqnrsorpvplwpnvrtzDvuByAFy",  # NESS
    "jlujqallgtmrfpmkwADyzvrDtBrhEpugmBqiiDtxEBCBCsxxutvAHuoFurxx",  # OUS
    "uArrxmAuntzBuwpvlzDCBKuBnzwCqrFpkwowtxqtvoyCxsnrFxsCBuDDzyEz",  # ER
    "nrEtmrpArprBJAwErFKFGIwIBxzqvxypolloskgkrtekkwkoqyyCGustyvCx",  # NESSES
    "syxuzsqsvzDEvwstxIJGKzyAwyyswvykonqwqunwruuuxzBqrBvBOpxvBuyw",  # SS
    "qwErlryxozywGxECoEGFHDvJABrkwDyrtmpqsooplulslsspnsyDDxxDyvxx",  # S
    "vwBrvsmqEmsFyAsznGFEEvvJFyBktuxkjAovtuuvvxEsvtvsywxFBupvzrxv",  # Y
    "zrFDAlyBzEszttrtrAHGFxwEszwqrxvojBrwswsxywzutqwttArEJxABBBAs",  # E
    "otytyAyrwvyvwywywywuwxxBKvyyOsyvvysususwwwtAutoyyyyCyABCzwxv",  # LETTER
    "ttzwzrquFwsBzoBypBIBGFyCvBuwsDDnnHtuqszzwvBxskCBtzsGJwzFwvKu",  # SHORT
    "vtAvwowtxCtzrwqthBIFGCBFsutisCsqiCttpwqzxsCtxGwwAssEEyxDzxDv",  # WORD
    "qkqsqzrzxuwsNyxwxByswvtBzAAvmpyyuuolrqAutzxuqBDsvwyzAptmBxqp",  # NUMBER
    "yryvxuvyyyvvxyyzwxAxuyywxuyxvAytzDxCuyyCyzwrEFzBDxxyyurwyzyA",  # SYMBOL
    "CzuqxpqtFvwksxvrxlprptumAsxotyvltMBwsECDEEABAvuDuwyAGCxwwzxC",  # POSS
    "rfurkuoAynbjkorsgaaokgvqxGrDozmqeunashluesjoqoirhnywyoyuwppw",  # STOP
    "acoaanaacalgigjgdagabnpqnnqcilvaacbfkcgfgiabhpjaosyvCyytynsy",  # ASK
    "trzBxFAEDvmmtwotxlgqtDAPOJOzzEtzCsBswvsytEqswADzrkyyyywEtAqy",  # COMMA
    "BuEzxCzvBywquyuEAwkrrBvmBDyzvwyzOpDspsyxnqJuxtDALwyzyyyCyFBy",  # COLON
    "sBrwEyCFByvtquwtrvnBCBEAIFxAqEuxIrsszpntFBtvtEtxQPyyyyyyKEDy",  # LINE
    "xzyzxyzzCwDyywxwwvwBstyBxzyAvAyxwvxwxzwwuyyIuyxzuwyyyyyyxFyG",  # DASH
    "swAsAuvAoxtEzvAvwzuwvrHNIvxquAyvxvwqqwyxvwxutvyuxyyEIzyzDHwA",  # QUOTE
    "yywwyyyxyyyyyyyyyyyzzvywyyAyyyyzAyyyyyyyywxuwyAvCryyyyyyyCyw",  # OPEN
    "wyCxyxxyyyzxvyyxyxzzByyDxxyyzBwwxywwvrtxwxxDpxwpqJyDyxxzyCvx",  # CLOSE
)
"""A row for each class, a letter for the class that follows (`LEVELS` of word_order.py)."""

LETTER_PAIRS = (
    "bcdfghiklmnprstuvwxy",
    "aeijlorstuy",
    "acehiklorstuy",
    "adegilnorsuvy",
    "abcdefghiklmnopqrstuvwxy",
    "aefilorstuy",
    "aeghilnoprstuy",
    "aeilmnortuy",
    "abcdefgklmnopqrstvz",
    "aeou",
    "aeins",
    "adefiklmnopstuvwy",
    "abefimopsuy",
    "acdefgijklmnostuvy",
    "abcdefghiklmnoprstuvwy",
    "aefhiloprstuy",
    "u",
    "abcdefgiklmnoprstuvy",
    "acdehiklmnopstuwy",
    "acefghilmnoprstuwy",
    "abcdegilmnprst",
    "aeio",
    "aehilnors",
    "aiptu",
    "beilmopst",
    "ae",
)
"""For a to z, the letters that follow it in English words."""

COMMON_STEMS = (
    "abili able about above abuse acade accep acces accom accor accou accur accus achie ackno acqui acros "
    "actin actio activ acts actua addic addit addre adher admin admir adult advan adver advic advis advoc "
    "affec affil affor afrai after again agenc agent agree ahead alcoh align allow alone along alrea also "
    "alter alway amazo ameri among amoun analy anima anoth answe anti anyon anyth apolo appea appli apply "
    "appre appro area areas argue argum arise aroun artic asked askin aspec assau asses asset assis assoc "
    "assum attac attem atten attit attra authe autho auton avail avoid aware away baby back backg balan bank "
    "banks barri base based basic batte battl becau becom been befor begin behav behin being belie belon benef "
    "best bette betwe beyon biase bill birth black blame blend block blood bodie body bomb book books born "
    "both bound boyfr brain break breat bring brows budge build built busin calcu call calle calli calm camer "
    "canno capab captu card cards care caree caref carri carry cars case cases cash casua catch caugh cause "
    "causi cauti celeb cente certa certi chall chanc chang chann chaos chara charg chari cheat check chemi "
    "child choic choos chris circu citie citiz city civil claim clari class clean clear click clini close "
    "cloth cocai code coerc colla colle color combi come comes comfo comin comme commi commo commu compa compe "
    "compl compo compr compu conce concl condi condu confi confl confu conne conse consi consp const consu "
    "conta conte conti contr conve convi cool coope corre cost could couns count cours court cover crack craft "
    "creat credi crime crimi crisi criti cross cruci crush cultu curio curre custo cyber damag dance dange "
    "dark darke data date days deal deali death decei decid decis dedic deep defen defin delet delic deliv "
    "deman democ demon denie depar depen depre descr deser desig desir despi desti destr detai detec deter "
    "devas devel devic dialo diffe diffi digit digni diplo direc disab disco discr discu disea disgu disor "
    "displ dispo disre disru dista distr diver divis docum does doing domes done door doubt down dress drink "
    "drive drug drugs durin each early earn earne easie easil easy eatin econo educa effec effic effor elect "
    "eligi else email embra emerg emoti empat empha emplo enabl encou endea energ enfor engag engin engli "
    "enhan enjoy enoug ensur enter entir entry envir equal equip equit escap espec essen estab ethic ethni "
    "europ evalu even event ever every evide exact exam examp exams exclu execu exerc exist expan expec expen "
    "exper expla expli explo expos expre exten extra extre eyes face faced facil facin fact facto facts factu "
    "fair fairn fake false famil fear featu feedb feel feeli fees ficti field fight figur files film films "
    "final finan find findi fines fire first focus follo food force forge form forme forms forum forwa foste "
    "found fraud free freed frien from front fulfi full funct funda funds funny furth futur gain game gathe "
    "gende gener germa getti give given givin glad glass globa goal goals goes going good goods gover great "
    "groce groun group grow growt guard guida guide hack hacke hacki hamme hand handl hands happe happy haras "
    "hard harm harmf harmi harmo harsh hate have havin head healt hear heard heart heavi held help helpf helpi "
    "helps here hide high highe highl histo hold hole home hones hope hospi hotli hours house howev human "
    "humor hurt hurtf hypot idea ideas ident ideol ignor illeg illne image imagi immed immig impac imper imple "
    "impli impor impos impri impro inapp incid inclu incom incre indee indic indiv indus infla influ infor "
    "infra inher initi injur innoc insid insig inspi insta inste insti instr insur integ intel inten inter "
    "intim into invad invas inves invol isola issue items itsel jobs john join joke jokes journ judge judgm "
    "juris just justi keep keepi kill kille killi kind kindn know knowi knowl known labor lack langu large "
    "lasti late later laws lawye lead leade leadi learn least leave leavi left legal legit less lesso lette "
    "level licen life light like likel limit line list liste littl live lived lives livin local locat locks "
    "long longe look looki looks loss lost love loved lower luck machi made main maint major make makes makin "
    "malic malwa manag manip manne many marke marri mater matte mean meani means meant measu meat mecha media "
    "medic meet membe memor menta menti messa metho micro might milli mind mindf minds minim misin misle missi "
    "mista mobil model moder momen money monit month moral more most mothe motiv move movem movie much multi "
    "murde music must name narra natio nativ natur navig near neces need neede needs negat negot neigh netwo "
    "neutr never news next nice night norms note nothi notic nucle numbe objec obser obtai offen offer offic "
    "often once ones onlin only open openi opera opini oppor optio order organ orien origi other ourse outco "
    "outsi over overa overc overr overw owner packa page paid pain paint paper paren part parti partn parts "
    "party passw past path patie payin payme peace penal peopl perce perfe perfo perio permi perpe perso persp "
    "persu phish phone photo phras physi pictu piece place plan plane plann plans plant platf play playe playi "
    "pleas plent point poiso polic polit poor popul posit posse possi post poten pover power pract preca prefe "
    "premi prepa prese presi press prete preve previ price prima princ prior priso priva probl proce produ "
    "profe profi progr prohi proje promi promo promp proof prope prosp prote proto prove provi psych publi "
    "punis purch purel purpo pursu push quali quest quick race raise range rathe reach react read readi ready "
    "real reali reall reaso recei recog recom recon recor recru reduc refer refle regar regio regul relat "
    "relea relev relia relig rely remai remem remin remot remov repor repre repro reput reque requi resea "
    "resid resol resor resou respe respo rest resta restr resul retur revea reven revie right rise risk risks "
    "robbe role room rule rules runni safe safel safer safet said same sampl save scena scene sched schoo "
    "scien score scree searc seaso secre secur seek seeki seem seems seen selec self sell selli senat send "
    "sense sensi sent separ serie serio serve servi sets setti sever share shari shock shoot short shot shoul "
    "show showc shows side signi silen simil simpl since situa size skill skin slave sleep small smart socia "
    "socie softw solel solut solve some someo somet sorry sound sourc space speak speci speec speed spend "
    "spiri spoke spot sprea stand start state statu stay steal step steps stere still stock stop store stori "
    "story strai strat stree stren stres stric striv stron struc strug stude studi study style subje subst "
    "succe such suffe sugge suici summa super suppl suppo sure surpr surro survi suspe suspi symbo syste tacti "
    "take taken takes takin talib talk talki targe task taugh teach team tech techn tell term termi terms "
    "terri terro text than thank that theft their them thems then theor thera there these they thing think "
    "this thoro those thoug thous threa thriv throu time times tips today toget took tool tools topic towar "
    "track trade tradi traff train trans traum trave treat trick trigg troub true trust truth tryin turn tutor "
    "twist type types typic ultim unabl unaut unbia uncom under uneth unfai union uniqu unite unive unsaf "
    "unsur until updat uphol urgen used usefu user users uses using usual utili valid valua value varie vario "
    "vary verif very victi video view viewp villa viola viole visit visua voice votin vulne wait walle want "
    "wants wars waste watch water ways weapo weari websi weigh welco well were what when where wheth which "
    "while white whole whose wide widel wife will willi windo wish with withi witho witne woman women word "
    "words work worke worki workp works world worth would write writi wrong years young your yours "
)
"""The beginnings of common English words."""
